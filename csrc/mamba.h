// Selective state spaces (Mamba), token after token: h = exp(dt A) h + dt x B, y = C h + D x. Mamba-1 has A and dt for
// each channel, Mamba-2 for each head. Channels are independent, so a task takes a few channels through all tokens of
// its sequence.
#pragma once

#include "gated_delta.h"

namespace WEFT_NS {

// log(1 + e^x), relative error about 2e-7: log(1 + u) = 2 artanh(u / (2 + u)), by the series of artanh.
WEFT_INLINE VF vsoftplus(VF x) {
    VF u = vexp(x < zero() ? x : -x), s = u / (splat(2.0f) + u), s2 = s * s;
    VF p = splat(1.0f / 17);
    for (int k = 15; k >= 1; k -= 2) p = fma(p, s2, splat(1.0f / (float)k));
    VF rest = splat(2.0f) * s * p;
    return x != x ? x : vmax(x, zero()) + rest;
}

WEFT_INLINE VF step_size(const MambaArgs& a, VF dt, VF bias) {
    dt = dt + bias;
    if (a.softplus) dt = vsoftplus(dt);
    return vmin(vmax(dt, splat(a.least_dt)), splat(a.most_dt));
}

template <int D, bool BY_HEAD, bool FULL>
static void mamba_lanes(const MambaArgs& a, int64_t seq, int64_t head, int64_t first, int64_t lanes) {
    typedef typename Float<D>::T T;
    float b[LARGEST_STATE], c[LARGEST_STATE];
    const int64_t n = a.state_size, width = a.head_dim, group = head / (a.heads / a.groups);
    const int64_t start = a.step->starts[seq], end = a.step->starts[seq + 1];
    StateColumns state(*a.step, seq, a.states, a.heads * n * width, head * n * width + first, width);
    if (start == end) state.copy(n, lanes);
    for (int64_t t = start; t < end; t++) {
        const T *x = (const T*)a.x + t * a.x_stride + head * width + first, *dt = (const T*)a.dt + t * a.dt_stride;
        WEFT_FOR_ROW(n, i, count) {
            store_up_to<F32>(b + i, load_up_to<D>((const T*)a.b + t * a.b_stride + group * n + i, count), count);
            store_up_to<F32>(c + i, load_up_to<D>((const T*)a.c + t * a.c_stride + group * n + i, count), count);
        }
        VF xs[SCAN_VECTORS], dts[SCAN_VECTORS], decay[SCAN_VECTORS], sums[4][SCAN_VECTORS] = {};
        for (int j = 0; j < SCAN_VECTORS; j++) {
            xs[j] = load_lanes<D, FULL>(x, lanes, j);
            if (BY_HEAD) {
                dts[j] = step_size(a, splat(Float<D>::get(dt[head])), splat(a.dt_bias ? a.dt_bias[head] : 0.0f));
                decay[j] = vexp(dts[j] * splat(a.a[head]));
            } else {
                VF bias = a.dt_bias ? load_lanes<F32, FULL>(a.dt_bias + first, lanes, j) : zero();
                dts[j] = step_size(a, load_lanes<D, FULL>(dt + first, lanes, j), bias);
            }
        }
        for (int64_t i = 0; i < n; i += 4)
            for (int r = 0; r < 4 && i + r < n; r++)
                for (int j = 0; j < SCAN_VECTORS; j++) {
                    VF kept = BY_HEAD ? decay[j]
                                      : vexp(dts[j] * load_lanes<F32, FULL>(a.a + (i + r) * width + first, lanes, j));
                    VF h = fma(kept, state.get<FULL>(i + r, lanes, j), dts[j] * xs[j] * splat(b[i + r]));
                    state.put<FULL>(i + r, h, lanes, j);
                    sums[r][j] = fma(h, splat(c[i + r]), sums[r][j]);
                }
        T* out = (T*)a.out + (t * a.heads + head) * width + first;
        for (int j = 0; j < SCAN_VECTORS; j++) {
            VF y = (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]);
            if (a.d) y = fma(BY_HEAD ? splat(a.d[head]) : load_lanes<F32, FULL>(a.d + first, lanes, j), xs[j], y);
            if (a.z) {
                const T* z = (const T*)a.z + t * a.z_stride + head * width + first;
                y = y * activate(load_lanes<D, FULL>(z, lanes, j), ACT_SILU);
            }
            store_lanes<D, FULL>(out, y, lanes, j);
        }
        state.advance();
    }
}

template <int D> static void mamba_task(const MambaArgs& a, int64_t seq, int64_t head, int64_t first, int64_t left) {
    const int64_t width = SCAN_VECTORS * W;
    if (a.by_head && left >= width) mamba_lanes<D, true, true>(a, seq, head, first, width);
    else if (a.by_head) mamba_lanes<D, true, false>(a, seq, head, first, left);
    else if (left >= width) mamba_lanes<D, false, true>(a, seq, head, first, width);
    else mamba_lanes<D, false, false>(a, seq, head, first, left);
}

static void mamba(const MambaArgs& a) {
    const int64_t width = SCAN_VECTORS * W, parts = (a.head_dim + width - 1) / width;
    parallel_for(a.step->num_seqs * a.heads * parts, 1, [&](int64_t task) {
        int64_t part = task % parts, head = task / parts % a.heads, seq = task / parts / a.heads;
        int64_t first = part * width, left = a.head_dim - first;
        WEFT_BY_DTYPE(a.dtype, mamba_task<D>(a, seq, head, first, left))
    });
}

}  // namespace WEFT_NS
