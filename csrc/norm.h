// RMSNorm and LayerNorm of rows. A row is summed in an order that its length alone decides, whatever else is in the
// call.
#pragma once

#include "kernels.h"
#include "parallel.h"
#include "rows.h"

namespace WEFT_NS {

constexpr int NORM_GRAIN = 8;  // rows of a task: fewer are not worth a thread

// v, rounded to the type D.
template <int D> WEFT_INLINE VF rounded(VF v) {
    typename Float<D>::T x[W];
    Float<D>::store(x, v);
    return Float<D>::load(x);
}

// One row of n elements; out may be x. weight, bias: [n] or null. rounds_first: the normalised row is rounded to the
// type before the weight multiplies it. adds: out += alpha * the result.
template <int D>
static void normalise(const NormOptions& o, const typename Float<D>::T* x, const float* weight, const float* bias,
                      int64_t n, typename Float<D>::T* out, bool adds = false, float alpha = 1.0f) {
    VF sum = zero(), squares = zero();
    if (o.centred) { WEFT_FOR_ROW(n, i, count) sum = sum + load_up_to<D>(x + i, count); }
    float mean = o.centred ? hsum(sum) / (float)n : 0.0f;
    WEFT_FOR_ROW(n, i, count) {
        VF v = load_up_to<D>(x + i, count);
        if (o.centred) {
            v = v - splat(mean);
            if (count < W)
                for (int64_t j = count; j < W; j++) v[j] = 0;  // lanes past the end have no deviation
        }
        squares = fma(v, v, squares);
    }
    VF scale = splat(1.0f / __builtin_sqrtf(hsum(squares) / (float)n + o.eps)), shift = splat(mean);
    WEFT_FOR_ROW(n, i, count) {
        VF v = load_up_to<D>(x + i, count);
        if (o.centred) v = v - shift;
        v = v * scale;
        if (o.rounds_first) v = rounded<D>(v);
        if (weight) v = v * load_up_to<F32>(weight + i, count);
        if (bias) v = v + load_up_to<F32>(bias + i, count);
        if (adds) v = fma(rounded<D>(v), splat(alpha), load_up_to<D>(out + i, count));
        store_up_to<D>(out + i, v, count);
    }
}

static void norm(const NormArgs& a) {
    parallel_for(a.rows, NORM_GRAIN, [&](int64_t r) {
        WEFT_BY_DTYPE(a.dtype, {
            typedef typename Float<D>::T T;
            normalise<D>(a.options, (const T*)a.x + r * a.x_stride, a.weight, a.bias, a.n, (T*)a.out + r * a.out_stride,
                         a.adds, a.alpha);
        })
    });
}

template <int D> static void add_and_normalise(const AddNormArgs& a, int64_t r) {
    typedef typename Float<D>::T T;
    const T *x = (const T*)a.x + r * a.x_stride, *residual = (const T*)a.residual + r * a.residual_stride;
    T* sum = (T*)a.sum + r * a.sum_stride;
    WEFT_FOR_ROW(a.n, i, count)
    store_up_to<D>(sum + i, load_up_to<D>(x + i, count) + load_up_to<D>(residual + i, count), count);
    normalise<D>(a.options, sum, a.weight, a.bias, a.n, (T*)a.out + r * a.out_stride);
}

static void add_norm(const AddNormArgs& a) {
    parallel_for(a.rows, NORM_GRAIN, [&](int64_t r) { WEFT_BY_DTYPE(a.dtype, add_and_normalise<D>(a, r)) });
}

}  // namespace WEFT_NS
