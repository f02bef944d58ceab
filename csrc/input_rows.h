// Rows of x in the form in which the tiles of a product read them, with the sums that a weight's offsets and its code of
// zero are multiplied by.
#pragma once

#include <stdlib.h>

#include "byte_rows.h"
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
// bfloat16 products), else to float32 copies; to rows in 8 bits for a weight with int8_activations.
struct Rows {
    enum Type { FLOATS, PAIRS, BYTES };  // PAIRS: of bfloat16
    Type type;
    void* memory;
    const void** x;
    const float** sums;  // each row's sums (sum_row), where offsets or the code of zero are multiplied by them; or null

    Rows(const Weight& w, const void* data, int dtype, int64_t count, int64_t stride) {
        const bool codes = w.kind >= W_Q4;
        const bool pairs = BF16_PRODUCTS && dtype == BF16 && w.kind != W_F32 && w.kind != W_F16 && w.kind != W_U8;
        type = w.int8_activations ? BYTES : pairs ? PAIRS : FLOATS;
        const bool summed = type != BYTES && (w.offsets || (codes && !pairs && w.zero));
        const int64_t copy = type == BYTES                               ? byte_row_bytes(w)
                             : type == FLOATS && (codes || dtype != F32) ? 4 * w.k
                                                                         : 0;  // bytes
        const int64_t length = summed ? 2 * sum_blocks(w) + 1 : 0, size = dtype == F32 ? 4 : 2;
        const size_t pointers = (sizeof(void*) * 2 * count + 63) / 64 * 64;
        memory = aligned_alloc(64, (pointers + count * (copy + sizeof(float) * length) + 127) / 64 * 64);
        x = (const void**)memory;
        sums = summed ? (const float**)(x + count) : nullptr;
        char* copies = (char*)memory + pointers;
        float* row_sums = (float*)(copies + count * copy);
        parallel_for(count, copy || summed ? 8 : count + 1, [&](int64_t r) {
            const char* row = (const char*)data + r * stride * size;
            x[r] = copy ? copies + r * copy : row;
            if (summed) {
                sums[r] = row_sums + r * length;
                WEFT_BY_DTYPE(dtype, sum_row<D>((const typename Float<D>::T*)row, w, row_sums + r * length))
            }
            if (type == BYTES) {
                WEFT_BY_DTYPE(dtype, bytes_of_row<D>((const typename Float<D>::T*)row, w, (int8_t*)copies + r * copy))
            } else if (copy) {
                WEFT_BY_DTYPE(dtype,
                              widen_row<D>((const typename Float<D>::T*)row, w.k, (float*)(copies + r * copy), w.kind))
            }
        });
    }
    ~Rows() { free(memory); }
    Rows(const Rows&) = delete;
};

// Runs `call` with T as the type of the rows' numbers: int8_t for rows in 8 bits, uint16_t for bfloat16, else float.
// clang-format off: a table of cases
#if defined(__AVX512BF16__)
#define WEFT_BY_ROWS(rows, call)                                                                                       \
    switch ((rows).type) {                                                                                             \
        case Rows::BYTES: { typedef int8_t T; call; break; }                                                           \
        case Rows::PAIRS: { typedef uint16_t T; call; break; }                                                         \
        default: { typedef float T; call; break; }                                                                     \
    }
#else
#define WEFT_BY_ROWS(rows, call)                                                                                       \
    switch ((rows).type) {                                                                                             \
        case Rows::BYTES: { typedef int8_t T; call; break; }                                                           \
        default: { typedef float T; call; break; }                                                                     \
    }
#endif
// clang-format on

}  // namespace WEFT_NS
