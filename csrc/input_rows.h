// Rows of x in the form in which the tiles of a product read them, with the sums that a weight's offsets and its code of
// zero are multiplied by.
#pragma once

#include <stdlib.h>

#include "codes.h"
#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace WEFT_NS {

constexpr int SUM_COLUMNS = 128;  // most columns of codes whose products are summed together with -zero * x

// A row of x as floats, times the factors that codes of `kind` want (codes.h; with W_F32: no factors).
template <int D>
static void widen_row(const typename Float<D>::T* x, int64_t k, float* out, int kind = W_F32) {
    constexpr int PERIOD = 16;
    float factors[PERIOD];
    for (int i = 0; i < PERIOD; i++) factors[i] = kind >= W_Q4 ? code_factor(kind, i) : 1.0f;
    int64_t i = 0;
    for (; i + W <= k; i += W) store(out + i, Float<D>::load(x + i) * load(factors + i % PERIOD));
    for (; i < k; i++) out[i] = Float<D>::get(x[i]) * factors[i % PERIOD];
}

// The blocks of columns of a weight's codes over which a row of x is summed: groups with one scale, or SUM_COLUMNS.
WEFT_INLINE int64_t sum_block(const Weight& w) { return w.group < w.k ? w.group : SUM_COLUMNS; }
WEFT_INLINE int64_t sum_blocks(const Weight& w) { return (w.k + sum_block(w) - 1) / sum_block(w); }

// The sums of a row of x over the blocks, the sum of them all, then what the products of each block start from, minus
// the code of zero times its sum: out [2 * sum_blocks + 1].
template <int D>
static void sum_row(const typename Float<D>::T* x, const Weight& w, float* out) {
    const int64_t block = sum_block(w), blocks = sum_blocks(w);
    float all = 0;
    for (int64_t g = 0; g < blocks; g++) {
        VF sum = zero();
        int64_t i = g * block, end = i + block < w.k ? i + block : w.k;
        for (; i + W <= end; i += W) sum = sum + Float<D>::load(x + i);
        float total = hsum(sum);
        for (; i < end; i++) total += Float<D>::get(x[i]);
        out[g] = total, all += total;
        out[blocks + 1 + g] = -(float)w.zero * total;
    }
    out[blocks] = all;
}

// Pointers to the rows of x: to x itself where the level multiplies its type (float32 by numbers, or bfloat16 with
// bfloat16 products), else to float32 copies.
struct Rows {
    void* memory;
    const void** x;
    const float** sums;  // each row's sums (sum_row), where offsets or the code of zero are multiplied by them; or null
    bool pairs;          // bfloat16 rows; else floats

    Rows(const Weight& w, const void* data, int dtype, int64_t count, int64_t stride) {
        const bool codes = w.kind >= W_Q4;
        pairs = BF16_PRODUCTS && dtype == BF16 && w.kind != W_F32 && w.kind != W_F16;
        const bool copied = !pairs && (codes || dtype != F32), summed = w.offsets || (codes && !pairs && w.zero);
        const int64_t length = summed ? 2 * sum_blocks(w) + 1 : 0, size = dtype == F32 ? 4 : 2;
        size_t pointers = sizeof(void*) * 2 * count, floats = sizeof(float) * count * ((copied ? w.k : 0) + length);
        memory = aligned_alloc(64, (pointers + floats + 127) / 64 * 64);
        x = (const void**)memory;
        sums = summed ? (const float**)(x + count) : nullptr;
        float* copies = (float*)((char*)memory + (pointers + 63) / 64 * 64);
        float* row_sums = copies + (copied ? count * w.k : 0);
        parallel_for(count, copied || summed ? 8 : count + 1, [&](int64_t r) {
            const char* row = (const char*)data + r * stride * size;
            x[r] = row;
            if (summed) {
                sums[r] = row_sums + r * length;
                WEFT_BY_DTYPE(dtype, sum_row<D>((const typename Float<D>::T*)row, w, row_sums + r * length))
            }
            if (copied) {
                WEFT_BY_DTYPE(dtype, widen_row<D>((const typename Float<D>::T*)row, w.k, copies + r * w.k, w.kind))
                x[r] = copies + r * w.k;
            }
        });
    }
    ~Rows() { free(memory); }
    Rows(const Rows&) = delete;
};

// Runs `call` with T as the type of the rows' numbers: uint16_t for bfloat16, else float.
#if defined(__AVX512BF16__)
#define WEFT_BY_ROWS(rows, call)                                                                                       \
    if ((rows).pairs) {                                                                                                \
        typedef uint16_t T;                                                                                            \
        call;                                                                                                          \
    } else {                                                                                                           \
        typedef float T;                                                                                               \
        call;                                                                                                          \
    }
#else
#define WEFT_BY_ROWS(rows, call)                                                                                       \
    {                                                                                                                  \
        typedef float T;                                                                                               \
        call;                                                                                                          \
    }
#endif

}  // namespace WEFT_NS
