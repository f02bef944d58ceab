// Tiles of rows of x in 8 bits (byte_rows.h) times codes (quantized values): sums of integers for each block of 32
// columns, or for each group with one scale where groups are smaller, then times both scales.
//
// Integer sums are exact, so that every way of summing gives the same; blocks are added to an output in the order of the
// columns, the same for a row in any company.
#pragma once

#include "byte_rows.h"
#include "codes.h"
#include "product_tiles.h"

namespace WEFT_NS {

// Four codes of each of the rows [c, c + W), a byte each: quad q of a block that begins at `unit`.
template <int KIND> WEFT_INLINE VU quad_of(const uint8_t* unit, int q, int c) {
    if constexpr (KIND == W_Q4) {
        VU u = load_words(unit + q / 2 * UNIT_BYTES<KIND> + 4 * c);
        return (q % 2 ? u >> 4 : u) & 0x0f0f0f0fu;
    } else if constexpr (KIND == W_U8) return load_words(unit + q * UNIT_BYTES<KIND> + 4 * c);
    else {
        constexpr int QUADS = UNIT<KIND> / 4;
        return joined_codes<KIND>(unit + q / QUADS * UNIT_BYTES<KIND>, q % QUADS, c);
    }
}

// Rows of a tile, and whether its sums of a kind have 16 bits: eight products of codes of 4 bits, 8 * 15 * 2 * 127 < 2^15.
constexpr int BYTE_ROWS = 4;
WEFT_INLINE constexpr bool sums_of_16([[maybe_unused]] int kind) {
#if defined(__AVX2__) && !defined(WEFT_VNNI)
    return kind == W_Q4;
#else
    return false;
#endif
}

// sum + the products of pairs of 16 bits, those of w not negative.
WEFT_INLINE VI dot_words(VI sum, VU w, VI x) {
#if WEFT_LANES == 8 && defined(__AVX2__)
    return sum + (VI)_mm256_madd_epi16((__m256i)w, (__m256i)x);
#elif WEFT_LANES == 4 && defined(__SSE2__)
    return sum + (VI)_mm_madd_epi16((__m128i)w, (__m128i)x);
#else
    return sum + (VI)(w & 0xffffu) * ((x << 16) >> 16) + (VI)(w >> 16) * (x >> 16);
#endif
}

// sum + the products of two quads of w (a, b) with two of x (at `codes`), lane by lane.
template <int KIND> WEFT_INLINE VI dot_quads(VI sum, [[maybe_unused]] VU a, [[maybe_unused]] VU b,
                                             [[maybe_unused]] const int8_t* codes) {
    if constexpr (dots_bytes(KIND)) {
        [[maybe_unused]] const VI x = splat_word(codes), y = splat_word(codes + 4);
#if defined(WEFT_VNNI)
        return WEFT_VNNI(WEFT_VNNI(sum, a, x), b, y);
#elif defined(__AVX2__)
        // Codes of 6 bits: two sums of two products, at most 4 * 63 * 127 < 2^15.
        __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16((__m256i)a, (__m256i)x),
                                         _mm256_maddubs_epi16((__m256i)b, (__m256i)y));
        if constexpr (sums_of_16(KIND)) return (VI)_mm256_add_epi16((__m256i)sum, pairs);
        return sum + (VI)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_MATMUL_INT8)
        int32x4_t first = vusdotq_s32((int32x4_t)sum, (uint8x16_t)a, (int8x16_t)x);
        return (VI)vusdotq_s32(first, (uint8x16_t)b, (int8x16_t)y);
#elif defined(__ARM_FEATURE_DOTPROD)
        // Codes below 128 are the same as signed bytes.
        int32x4_t first = vdotq_s32((int32x4_t)sum, (int8x16_t)a, (int8x16_t)x);
        return (VI)vdotq_s32(first, (int8x16_t)b, (int8x16_t)y);
#endif
    }
    return sum;
}

// The same for one quad, whose even and odd bytes are pairs of 16 bits.
WEFT_INLINE VI dot_quad(VI sum, VU even, VU odd, const int8_t* codes) {
    return dot_words(dot_words(sum, even, splat_word(codes)), odd, splat_word(codes + 4));
}

// Has v computed here. The compiler would move sums to their use, behind all products, whose registers run out.
WEFT_INLINE void now([[maybe_unused]] VI& v) {
#if defined(__AVX512F__)
    asm volatile("" : "+v"(v));
#elif defined(__SSE2__)
    asm volatile("" : "+x"(v));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(v));
#endif
}

template <int KIND> WEFT_INLINE VI total(VI sums) {
#if defined(__AVX2__)
    if constexpr (sums_of_16(KIND)) return (VI)_mm256_madd_epi16((__m256i)sums, _mm256_set1_epi16(1));
#endif
    return sums;
}

// PART: columns whose products are summed as integers, a block or, where groups are smaller, a part.
template <int MR, int KIND, int PART>
WEFT_APART void rows_times(const ByteRow* x, const Chunk& chunk, float* sums, bool fresh) {
    constexpr int NV = W == 16 || MR == 1 ? 4 : 2, SIZE = code_size(KIND), PARTS = PART / X_PART;
    constexpr int QUADS = dots_bytes(KIND) ? 2 : 1;  // multiplied at once
    constexpr bool both = NV * W > PANEL;
    const Scales* scales = chunk.scales;
    const bool has_offsets = scales && scales->has_offsets;
    const int8_t* codes[MR];
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++) codes[r] = x[r].codes + chunk.k0 * SIZE;
    for (int c0 = 0; c0 < GROUP; c0 += NV * W) {
        const int row = c0 % PANEL;
        const uint8_t *first = c0 < PANEL ? chunk.a : chunk.b, *second = both ? chunk.b : first;
        for (int64_t k = 0; k < chunk.k1 - chunk.k0; k += X_BLOCK) {
            const uint8_t *a = first + k / UNIT<KIND> * UNIT_BYTES<KIND>, *b = second + (a - first);
            for (int unit = 0; unit < X_BLOCK / UNIT<KIND>; unit++) {
                fetch_part<KIND, NV * W>(a + chunk.next + unit * UNIT_BYTES<KIND>, row);
                if (both) fetch_part<KIND, NV * W>(b + chunk.next + unit * UNIT_BYTES<KIND>, row);
            }
#pragma GCC unroll 2
            for (int part = 0; part < X_BLOCK / PART; part++) {
                VI acc[MR][NV];
#pragma GCC unroll 8
                for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
                    for (int v = 0; v < NV; v++) acc[r][v] = VI{};
#pragma GCC unroll 8
                for (int q = part * PART / 4; q < (part + 1) * PART / 4; q += QUADS) {
                    VU one[NV], two[NV];
#pragma GCC unroll 8
                    for (int v = 0; v < NV; v++) {
                        const uint8_t* unit = both && v * W >= PANEL ? b : a;
                        const int c = both ? v * W % PANEL : row + v * W;
                        one[v] = quad_of<KIND>(unit, q, c);
                        if (QUADS == 2) two[v] = quad_of<KIND>(unit, q + 1, c);
                        else two[v] = one[v] >> 8 & 0x00ff00ffu, one[v] = one[v] & 0x00ff00ffu;
                    }
#pragma GCC unroll 8
                    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
                        for (int v = 0; v < NV; v++) {
                            const int8_t* at = codes[r] + (k + 4 * q) * SIZE;
                            if constexpr (QUADS == 2) acc[r][v] = dot_quads<KIND>(acc[r][v], one[v], two[v], at);
                            else acc[r][v] = dot_quad(acc[r][v], one[v], two[v], at);
                            now(acc[r][v]);
                        }
                }
                const int64_t at = (chunk.k0 + k) / X_PART + part * PARTS,
                              g = scales ? (k + part * PART) / chunk.group : 0;
                const bool first_part = fresh && k == 0 && part == 0;
#pragma GCC unroll 8
                for (int r = 0; r < MR; r++) {
                    const int32_t start = x[r].starts[at] + (PARTS == 2 ? x[r].starts[at + 1] : 0);
                    const VF x_scale = splat(x[r].scales[at / (X_BLOCK / X_PART)]);
                    const float x_sum = PARTS == 2 ? x[r].sums[at] + x[r].sums[at + 1] : x[r].sums[at];
#pragma GCC unroll 8
                    for (int v = 0; v < NV; v++) {
                        const int c = c0 + v * W;
                        float* target = sums + r * GROUP + c;
                        const VF scale = scales ? x_scale * load(scales->scale[g] + c) : x_scale;
                        const VF integers = __builtin_convertvector(total<KIND>(acc[r][v]) + splat_word(&start), VF);
                        VF sum = fma(integers, scale, first_part ? zero() : load(target));
                        if (has_offsets) sum = fma(splat(x_sum), load(scales->offset[g] + c), sum);
                        store(target, sum);
                    }
                }
            }
        }
    }
}

template <int KIND>
static void byte_tile(const ByteRow* x, int rows, const Chunk& chunk, float* sums, bool fresh) {
    if (chunk.scales && chunk.group < X_BLOCK) {
        WEFT_BY_ROW_COUNT(rows, BYTE_ROWS, (rows_times<MR, KIND, X_PART>(x, chunk, sums, fresh)));
    } else {
        WEFT_BY_ROW_COUNT(rows, BYTE_ROWS, (rows_times<MR, KIND, X_BLOCK>(x, chunk, sums, fresh)));
    }
}

// rows: at most BYTE_ROWS.
static void tile(const int8_t* const* x, const Weight& w, int rows, const Chunk& chunk, float* sums, bool fresh) {
    ByteRow parts[BYTE_ROWS];
    for (int r = 0; r < rows; r++) parts[r] = ByteRow(x[r], w);
    switch (chunk.kind) {
        case W_Q4: byte_tile<W_Q4>(parts, rows, chunk, sums, fresh); break;
        case W_Q5: byte_tile<W_Q5>(parts, rows, chunk, sums, fresh); break;
        case W_Q6: byte_tile<W_Q6>(parts, rows, chunk, sums, fresh); break;
        default: byte_tile<W_U8>(parts, rows, chunk, sums, fresh); break;
    }
}

}  // namespace WEFT_NS
