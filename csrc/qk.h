// The steps between the product that makes q, k and v and attention: clip, norms of q and k heads and rotation (RoPE) in
// place, or the rotation alone of q and k that lie apart.
#pragma once

#include "norm.h"

namespace WEFT_NS {

// Rotates the pairs (i, i + half), or interleaved (2i, 2i + 1), of a head by the token's angles. cos, sin: [half]. out
// may be head.
template <int D>
static void rotate_head(const typename Float<D>::T* head, const float* cos, const float* sin, int64_t half,
                        bool interleaved, typename Float<D>::T* out) {
    if (interleaved) {
        for (int64_t i = 0; i < half; i++) {
            float a = Float<D>::get(head[2 * i]), b = Float<D>::get(head[2 * i + 1]);
            out[2 * i] = Float<D>::put(a * cos[i] - b * sin[i]);
            out[2 * i + 1] = Float<D>::put(b * cos[i] + a * sin[i]);
        }
        return;
    }
    WEFT_FOR_ROW(half, i, count) {
        VF a = load_up_to<D>(head + i, count), b = load_up_to<D>(head + half + i, count);
        VF c = load_up_to<F32>(cos + i, count), s = load_up_to<F32>(sin + i, count);
        store_up_to<D>(out + i, a * c - b * s, count);
        store_up_to<D>(out + half + i, b * c + a * s, count);
    }
}

template <int D>
static void transform_token(const QKArgs& a, int64_t token) {
    typedef typename Float<D>::T T;
    T* row = (T*)a.qkv + token * a.stride;
    int64_t rotated = a.heads + a.kv_heads, all = a.heads + 2 * a.kv_heads;
    if (a.clip > 0) {
        WEFT_FOR_ROW(all * a.head_dim, i, count)
        store_up_to<D>(row + i, vmin(vmax(load_up_to<D>(row + i, count), splat(-a.clip)), splat(a.clip)), count);
    }
    const float* cos = a.half ? a.cos + token * a.half : nullptr;
    const float* sin = a.half ? a.sin + token * a.half : nullptr;
    if (a.q_weight && a.over_all) {
        T* keys = row + a.heads * a.head_dim;
        normalise<D>(a.options, row, a.q_weight, a.q_bias, a.heads * a.head_dim, row);
        normalise<D>(a.options, keys, a.k_weight, a.k_bias, a.kv_heads * a.head_dim, keys);
    }
    for (int64_t h = 0; h < rotated; h++) {
        T* head = row + h * a.head_dim;
        if (a.q_weight && !a.over_all) {
            bool is_q = h < a.heads;
            const float *weight = is_q ? a.q_weight : a.k_weight, *bias = is_q ? a.q_bias : a.k_bias;
            int64_t skip = a.by_head ? (is_q ? h : h - a.heads) * a.head_dim : 0;
            normalise<D>(a.options, head, weight + skip, bias ? bias + skip : nullptr, a.head_dim, head);
        }
        if (a.half) rotate_head<D>(head, cos, sin, a.half, a.interleaved, head);
    }
}

static void transform_qk(const QKArgs& a) {
    parallel_for(a.tokens, 4, [&](int64_t t) { WEFT_BY_DTYPE(a.dtype, transform_token<D>(a, t)) });
}

// One token's heads of q or of k.
template <int D>
static void rotate_heads(const RotateArgs& a, const typename Float<D>::T* x, int64_t heads, const float* cos,
                         const float* sin, typename Float<D>::T* out) {
    const int64_t rotated = 2 * a.half;
    for (int64_t h = 0; h < heads; h++, x += a.head_dim, out += a.head_dim) {
        rotate_head<D>(x, cos, sin, a.half, a.interleaved, out);
        if (out != x) memcpy(out + rotated, x + rotated, sizeof(*x) * (size_t)(a.head_dim - rotated));
    }
}

static void rotate(const RotateArgs& a) {
    parallel_for(a.tokens, 4, [&](int64_t t) {
        const float *cos = a.cos + t * a.half, *sin = a.sin + t * a.half;
        WEFT_BY_DTYPE(a.dtype, {
            typedef typename Float<D>::T T;
            rotate_heads<D>(a, (const T*)a.q + t * a.q_stride, a.heads, cos, sin, (T*)a.q_out + t * a.q_out_stride);
            rotate_heads<D>(a, (const T*)a.k + t * a.k_stride, a.kv_heads, cos, sin, (T*)a.k_out + t * a.k_out_stride);
        })
    });
}

}  // namespace WEFT_NS
