// Rows of x in 8 bits, for products of integers with codes (quantized values) of any kind: a scale for each 32 columns.
//
// The scale is the block's largest magnitude / 127; codes are x / scale, rounded to nearest, ties to even. A row with
// NaN or an infinity in a block gets the scale NaN there, and so NaN results.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace WEFT_NS {

constexpr int X_BLOCK = 32;  // columns of x that share a scale
constexpr int X_PART = 16;   // columns whose codes are summed: the smallest group of columns with a scale of w

// Whether a level multiplies the bytes of a kind of weight, or widens them to pairs of 16 bits.
WEFT_INLINE constexpr bool dots_bytes([[maybe_unused]] int kind) {
#if defined(WEFT_VNNI)
    return true;
#elif defined(__ARM_FEATURE_MATMUL_INT8)
    return true;
#elif defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
    return kind != W_U8;  // two products of 8 bits leave AVX2's sums of 16 bits; ARM's dot product is of signed bytes
#else
    return false;
#endif
}
WEFT_INLINE constexpr int code_size(int kind) { return dots_bytes(kind) ? 1 : 2; }

// A row: k codes of code_size bytes in the order of the weight's bytes; then for each block a scale; then for each part
// minus the code of zero times the sum of its codes, and the sum of its codes times the scale; then the sum of these.
struct ByteRow {
    const int8_t* codes;
    const float* scales;
    const int32_t* starts;
    const float *sums, *total;

    ByteRow() = default;
    ByteRow(const int8_t* row, const Weight& w)
        : codes(row),
          scales((const float*)(row + w.k * code_size(w.kind))),
          starts((const int32_t*)(scales + w.k / X_BLOCK)),
          sums((const float*)(starts + w.k / X_PART)),
          total(sums + w.k / X_PART) {}
};
WEFT_INLINE int64_t byte_row_bytes(const Weight& w) {
    int64_t bytes = w.k * code_size(w.kind) + 4 * (w.k / X_BLOCK) + 8 * (w.k / X_PART) + 4;
    return (bytes + 63) / 64 * 64 + 64;  // no power of two, so that rows of a tile lie in different cache sets
}

// The column of a block at place p in the order in which the words of a kind of weight hold the block's bytes; for
// pairs of 16 bits, bytes 0 and 2 of a word come before bytes 1 and 3.
WEFT_INLINE int column_at(int kind, int p) {
    const int q = p / 4, b = dots_bytes(kind) ? p % 4 : p % 2 * 2 + p / 2 % 2;
    if (kind == W_Q4) return q / 2 * 8 + q % 2 * 2 + b / 2 + b % 2 * 4;
    return 4 * q + b / 2 + b % 2 * 2;
}

template <int D>
static void bytes_of_row(const typename Float<D>::T* x, const Weight& w, int8_t* row) {
    constexpr float TO_INTEGER = 12582912.0f;  // 1.5 * 2^23: the sum's mantissa holds the integer
    const ByteRow out(row, w);
    const int size = code_size(w.kind);
    int order[X_BLOCK];
    for (int p = 0; p < X_BLOCK; p++) order[p] = column_at(w.kind, p);
    float all = 0;
    for (int64_t b = 0; b < w.k / X_BLOCK; b++) {
        float values[X_BLOCK];
        VF most = zero(), fault = zero();
        for (int i = 0; i < X_BLOCK; i += W) {
            VF v = Float<D>::load(x + b * X_BLOCK + i);
            store(values + i, v);
            most = vmax((VF)((VU)v & 0x7fffffffu), most);
            fault = fault + v * zero();  // NaN for NaN and infinities
        }
        const bool faulty = hsum(fault) != 0.0f;
        const float scale = faulty ? hsum(fault) : hmax(most) / 127.0f;
        const VF divisor = splat(scale == 0.0f || faulty ? 1.0f : scale), limit = splat(127.0f);
        int32_t codes[X_BLOCK];
        for (int i = 0; i < X_BLOCK; i += W) {
            VF v = faulty ? zero() : vmax(vmin(load(values + i) / divisor, limit), -limit);
            VI integers = (VI)((VU)(v + splat(TO_INTEGER)) - 0x4b400000u);
            memcpy(codes + i, &integers, sizeof integers);
        }
        for (int p = 0; p < X_BLOCK; p++) {
            const int32_t code = codes[order[p]];
            if (size == 1) row[b * X_BLOCK + p] = (int8_t)code;
            else ((int16_t*)row)[b * X_BLOCK + p] = (int16_t)code;
        }
        ((float*)out.scales)[b] = scale;
        for (int part = 0; part < X_BLOCK / X_PART; part++) {
            int32_t sum = 0;
            for (int i = 0; i < X_PART; i++) sum += codes[part * X_PART + i];
            ((int32_t*)out.starts)[b * (X_BLOCK / X_PART) + part] = -w.zero * sum;
            ((float*)out.sums)[b * (X_BLOCK / X_PART) + part] = (float)sum * scale;
            all += (float)sum * scale;
        }
    }
    *(float*)out.total = all;
}

}  // namespace WEFT_NS
