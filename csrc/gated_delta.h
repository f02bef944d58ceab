// The gated delta rule, token after token. Columns of a head's state are independent of each other, so a task takes a few
// of them through all tokens of its sequence; they stay in the first cache.
#pragma once

#include "kernels.h"
#include "parallel.h"
#include "rows.h"

namespace WEFT_NS {

constexpr int SCAN_VECTORS = 2;                   // of columns in one task
constexpr int64_t LARGEST_KEY = 256;              // Python refuses larger ones

// A row of q or k as floats, of length one if asked for, times `scale`.
template <int D>
static void delta_row(const typename Float<D>::T* x, int64_t n, bool normalises, float scale, float* out) {
    VF squares = zero();
    WEFT_FOR_ROW(n, i, count) {
        VF v = load_up_to<D>(x + i, count);
        squares = fma(v, v, squares);
        store_up_to<F32>(out + i, v, count);
    }
    if (normalises) scale = scale / __builtin_sqrtf(hsum(squares) + 1e-6f);
    WEFT_FOR_ROW(n, i, count) store_up_to<F32>(out + i, load_up_to<F32>(out + i, count) * splat(scale), count);
}

// Vector j of a task's `lanes` columns.
WEFT_INLINE int64_t lanes_of(int64_t lanes, int j) {
    int64_t left = lanes - j * W;
    return left < 0 ? 0 : left < W ? left : W;
}
template <int D, bool FULL> WEFT_INLINE VF load_lanes(const typename Float<D>::T* p, int64_t lanes, int j) {
    if (FULL) return Float<D>::load(p + j * W);
    return load_part<D>(p + j * W, (int)lanes_of(lanes, j));
}
template <int D, bool FULL> WEFT_INLINE void store_lanes(typename Float<D>::T* p, VF v, int64_t lanes, int j) {
    if (FULL) Float<D>::store(p + j * W, v);
    else store_part<D>(p + j * W, v, (int)lanes_of(lanes, j));
}

template <int D, bool FULL>
static void delta_columns(const DeltaArgs& a, int64_t seq, int64_t head, int64_t first, int64_t lanes) {
    typedef typename Float<D>::T T;
    float k[LARGEST_KEY], q[LARGEST_KEY];
    const int64_t n = a.key_dim, key_head = head / (a.heads / a.key_heads);
    float* state = a.states + (a.state_ids[seq] * a.heads + head) * n * a.value_dim + first;
    for (int64_t t = a.starts[seq]; t < a.starts[seq + 1]; t++) {
        delta_row<D>((const T*)a.k + t * a.k_stride + key_head * n, n, a.normalises, 1.0f, k);
        delta_row<D>((const T*)a.q + t * a.q_stride + key_head * n, n, a.normalises, a.scale, q);
        const VF decay = vexp(splat(a.log_decays[t * a.heads + head])), beta = splat(a.betas[t * a.heads + head]);
        const T* v = (const T*)a.v + t * a.v_stride + head * a.value_dim + first;
        VF sums[4][SCAN_VECTORS] = {}, delta[SCAN_VECTORS];
        for (int64_t i = 0; i < n; i += 4)
            for (int r = 0; r < 4 && i + r < n; r++)
                for (int j = 0; j < SCAN_VECTORS; j++)
                    sums[r][j] = fma(splat(k[i + r]), load_lanes<F32, FULL>(state + (i + r) * a.value_dim, lanes, j), sums[r][j]);
        for (int j = 0; j < SCAN_VECTORS; j++) {
            VF known = decay * ((sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]));   // what the state says of this key
            delta[j] = beta * (load_lanes<D, FULL>(v, lanes, j) - known);
            for (int r = 0; r < 4; r++) sums[r][j] = zero();
        }
        for (int64_t i = 0; i < n; i += 4)
            for (int r = 0; r < 4 && i + r < n; r++)
                for (int j = 0; j < SCAN_VECTORS; j++) {
                    float* at = state + (i + r) * a.value_dim;
                    VF s = fma(splat(k[i + r]), delta[j], decay * load_lanes<F32, FULL>(at, lanes, j));
                    store_lanes<F32, FULL>(at, s, lanes, j);
                    sums[r][j] = fma(splat(q[i + r]), s, sums[r][j]);
                }
        T* out = (T*)a.out + (t * a.heads + head) * a.value_dim + first;
        for (int j = 0; j < SCAN_VECTORS; j++)
            store_lanes<D, FULL>(out, (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]), lanes, j);
    }
}

template <int D> static void delta_task(const DeltaArgs& a, int64_t seq, int64_t head, int64_t first, int64_t left) {
    if (left >= SCAN_VECTORS * W) delta_columns<D, true>(a, seq, head, first, SCAN_VECTORS * W);
    else delta_columns<D, false>(a, seq, head, first, left);
}

static void gated_delta(const DeltaArgs& a) {
    const int64_t width = SCAN_VECTORS * W, parts = (a.value_dim + width - 1) / width;
    parallel_for(a.seqs * a.heads * parts, 1, [&](int64_t task) {
        int64_t part = task % parts, head = task / parts % a.heads, seq = task / parts / a.heads;
        int64_t first = part * width, left = a.value_dim - first;
        WEFT_BY_DTYPE(a.dtype, delta_task<D>(a, seq, head, first, left))
    });
}

}  // namespace WEFT_NS
