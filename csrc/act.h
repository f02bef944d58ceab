// Activations as an operator (behind a linear layer they are part of its epilogue, linear.h), and rows of an unpacked
// table by id (embedding).
#pragma once

#include "kernels.h"
#include "parallel.h"
#include "rows.h"

namespace WEFT_NS {

constexpr int64_t ACT_COLUMNS = 2048;  // columns of a task: fewer are not worth a thread

template <int D> static void activation_part(const ActArgs& a, int64_t row, int64_t start, int64_t width) {
    typedef typename Float<D>::T T;
    const T* x = (const T*)a.x + row * a.x_stride + start;
    T* out = (T*)a.out + row * a.out_stride + start;
    WEFT_FOR_ROW(width, i, count) {
        VF v = activate(load_up_to<D>(x + i, count), a.act);
        if (a.gated) v = v * load_up_to<D>(x + a.width + i, count);
        store_up_to<D>(out + i, v, count);
    }
}

static void activation(const ActArgs& a) {
    int64_t parts = (a.width + ACT_COLUMNS - 1) / ACT_COLUMNS;
    parallel_for(a.rows * parts, 4, [&](int64_t task) {
        int64_t start = task % parts * ACT_COLUMNS, left = a.width - start;
        int64_t width = left < ACT_COLUMNS ? left : ACT_COLUMNS;
        WEFT_BY_DTYPE(a.dtype, activation_part<D>(a, task / parts, start, width))
    });
}

static void table_rows(const RowsArgs& a) {
    parallel_for(a.count, 4, [&](int64_t i) {
        WEFT_BY_DTYPE(a.dtype, {
            typedef typename Float<D>::T T;
            const T* row = (const T*)a.table + a.ids[i] * a.stride;
            T* out = (T*)a.out + i * a.width;
            if (a.factor == 1.0f) memcpy(out, row, sizeof(T) * (size_t)a.width);
            else WEFT_FOR_ROW(a.width, c, count)
            store_up_to<D>(out + c, load_up_to<D>(row + c, count) * splat(a.factor), count);
        })
    });
}

// The vector functions by number, for tests of their accuracy: 0 exp, 1 tanh, 2 erf, else sigmoid.
static void vector_function(int which, const float* x, int64_t n, float* out) {
    WEFT_FOR_ROW(n, i, count) {
        VF v = load_up_to<F32>(x + i, count);
        v = which == 0 ? vexp(v) : which == 1 ? vtanh(v) : which == 2 ? verf(v) : vsigmoid(v);
        store_up_to<F32>(out + i, v, count);
    }
}

}  // namespace WEFT_NS
