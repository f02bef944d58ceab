// The two products of a span of 64 keys for up to UNIT rows of floats, on a cache of pairs of bfloat16, float16 or
// 8-bit codes (quantized values). The pairs become floats in registers. Each sum runs in the order of
// attention_tiles.h, so the result has the same bits as on a span that was converted to floats first.
#pragma once

#include "attention_tiles.h"

namespace WEFT_NS {
namespace paged {

// Vectors of sums for each row of a tile: registers hold them, the floats of a pair, and what converting takes. Few rows
// have more, because a sum is added to twice for each pair and waits for itself: eight sums keep the multipliers busy.
constexpr int pair_vectors(int rows) {
    if (W == 16) return rows <= 4 ? 4 : 2;
    if (W == 4) return rows <= 2 ? 4 : 1;
    return rows == 1 ? 8 : rows == 2 ? 4 : rows <= 4 ? 2 : 1;
}

#if WEFT_LANES == 8
// A NaN among codes of e4m3 is rare: `most` collects the largest magnitude of the codes read in each byte, and sums that
// met one are made again by read_pairs.
WEFT_INLINE bool has_nan(__m256i most) {
    const __m256i nan = _mm256_cmpeq_epi8(most, _mm256_set1_epi8(0x7f));
    return !_mm256_testz_si256(nan, nan);
}

// As read_pairs for 2 W pairs of 8-bit codes that lie behind one another; e4m3's NaN is read as 480.
template <int KIND>
WEFT_INLINE void read_two(const uint8_t* in, VF first[2], VF second[2], __m256i& most) {
    __m256i codes = _mm256_loadu_si256((const __m256i*)in), low, high;
    if constexpr (KIND == KV_INT8) {
        const __m256i size = _mm256_and_si256(codes, _mm256_set1_epi8(0x7f));
        codes = _mm256_sign_epi8(size, _mm256_or_si256(codes, _mm256_set1_epi8(1)));
        low = _mm256_srai_epi16(_mm256_slli_epi16(codes, 8), 8), high = _mm256_srai_epi16(codes, 8);
        for (int v = 0; v < 2; v++) {
            const __m128i a = v ? _mm256_extracti128_si256(low, 1) : _mm256_castsi256_si128(low);
            const __m128i b = v ? _mm256_extracti128_si256(high, 1) : _mm256_castsi256_si128(high);
            first[v] = (VF)_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(a));
            second[v] = (VF)_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(b));
        }
        return;
    }
    if constexpr (KIND == KV_E4M3) {
        const __m256i bits = _mm256_set1_epi16((int16_t)0xbf80);  // all but the exponent's upper bit, as in as_float16
        most = _mm256_max_epu8(most, _mm256_and_si256(codes, _mm256_set1_epi8(0x7f)));
        low = _mm256_and_si256(_mm256_srai_epi16(_mm256_slli_epi16(codes, 8), 1), bits);
        high = _mm256_and_si256(_mm256_srai_epi16(codes, 1), bits);
    } else {
        low = _mm256_slli_epi16(codes, 8);
        high = _mm256_and_si256(codes, _mm256_set1_epi16((int16_t)0xff00));
    }
    first[0] = (VF)_mm256_cvtph_ps(_mm256_castsi256_si128(low));
    second[0] = (VF)_mm256_cvtph_ps(_mm256_castsi256_si128(high));
    first[1] = (VF)_mm256_cvtph_ps(_mm256_extracti128_si256(low, 1));
    second[1] = (VF)_mm256_cvtph_ps(_mm256_extracti128_si256(high, 1));
}
#endif

// True if tiles of so many vectors begin with read_two.
template <int KIND, int NV> constexpr bool BY_TWO = W == 8 && NV % 2 == 0 && kv_bytes(KIND) == 1;

// acc[r][v] += pairs v's first numbers * x[r][at], and then their second * x[r][at + 1]. `read(v, first, second)` reads
// the pairs STEP vectors at a time, just before they are used: all of them at once would not fit the registers.
template <int MR, int NV, int STEP, class Read>
WEFT_INLINE void add_pairs(const float* const* x, int64_t at, VF acc[MR][NV], const Read& read) {
    VF a[MR], b[MR];
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++) a[r] = splat(x[r][at]), b[r] = splat(x[r][at + 1]);
#pragma GCC unroll 8
    for (int v = 0; v < NV; v += STEP) {
        VF first[STEP], second[STEP];
        read(v, first, second);
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 2
            for (int i = 0; i < STEP; i++) acc[r][v + i] = fma(b[r], second[i], fma(a[r], first[i], acc[r][v + i]));
    }
}

// sums[r][c .. c + NV * W) = x[r] . keys. ahead: blocks that are prefetched meanwhile. FAST: by read_two. False if the
// sums must be made again without it.
template <int KIND, int MR, int NV, bool FAST>
WEFT_INLINE bool pair_keys(const float* const* x, const uint8_t* const* keys, const uint8_t* const* ahead, int64_t d,
                           int c, float* sums) {
    constexpr int PAIR = 2 * kv_bytes(KIND), ROW = KV_BLOCK * PAIR;
    const uint8_t *w[NV], *next[NV];
    for (int v = 0; v < NV; v++) {
        const int key = c + v * W;
        w[v] = keys[key / KV_BLOCK] + key % KV_BLOCK * PAIR;
        next[v] = ahead[key / KV_BLOCK] + key % KV_BLOCK * PAIR;
    }
    VF acc[MR][NV];
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) acc[r][v] = zero();
#if WEFT_LANES == 8
    __m256i most = _mm256_setzero_si256();
#endif
#pragma GCC unroll 1
    for (int64_t s = 0; s < d / 2; s++) {
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++)
            if (v * W % KV_BLOCK == 0) fetch(next[v] + s * ROW);
        add_pairs<MR, NV, FAST ? 2 : 1>(x, 2 * s, acc,
                                        [&](int v, VF* first, VF* second) __attribute__((always_inline)) {
#if WEFT_LANES == 8
            if constexpr (FAST) return read_two<KIND>(w[v] + s * ROW, first, second, most);
#endif
            read_pairs(KIND, w[v] + s * ROW, *first, *second);
        });
    }
#if WEFT_LANES == 8
    if (FAST && KIND == KV_E4M3 && __builtin_expect(has_nan(most), 0)) return false;
#endif
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) store(sums + r * SPAN + c + v * W, acc[r][v]);
    return true;
}

// sums [MR][64] = x . keys.
template <int KIND, int MR>
WEFT_APART void pair_scores(const float* const* x, const uint8_t* const* keys, const uint8_t* const* ahead, int64_t d,
                            float* sums) {
    constexpr int NV = pair_vectors(MR);
    const float* rows[MR];
    for (int r = 0; r < MR; r++) rows[r] = x[r];
    for (int c = 0; c < SPAN; c += NV * W)
        if (!pair_keys<KIND, MR, NV, BY_TWO<KIND, NV>>(rows, keys, ahead, d, c, sums))
            pair_keys<KIND, MR, NV, false>(rows, keys, ahead, d, c, sums);
}

// out[r] [from, from + NV * W) += p[r] [64] times the span's values. FAST and the result as above.
template <int KIND, int MR, int NV, bool FAST>
WEFT_INLINE bool pair_columns(const float* const* p, const uint8_t* const* values, const uint8_t* const* ahead,
                              int64_t width, int64_t from, float* const* out) {
    constexpr int PAIR = 2 * kv_bytes(KIND);
    VF acc[MR][NV];
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) acc[r][v] = load(out[r] + from + v * W);
#if WEFT_LANES == 8
    __m256i most = _mm256_setzero_si256();
#endif
    for (int block = 0; block < SPAN_BLOCKS; block++) {
        const uint8_t *w = values[block] + from * PAIR, *next = ahead[block] + from * PAIR;
#pragma GCC unroll 1
        for (int s = 0; s < KV_BLOCK / 2; s++, w += width * PAIR, next += width * PAIR) {
#pragma GCC unroll 8
            for (int v = 0; v < NV; v++)
                if (v * W * PAIR % 64 == 0) fetch(next + v * W * PAIR);
            add_pairs<MR, NV, FAST ? 2 : 1>(p, block * KV_BLOCK + 2 * s, acc,
                                            [&](int v, VF* first, VF* second) __attribute__((always_inline)) {
                const uint8_t* in = w + v * W * PAIR;
#if WEFT_LANES == 8
                if constexpr (FAST) return read_two<KIND>(in, first, second, most);
#endif
                read_pairs(KIND, in, *first, *second);
            });
        }
    }
#if WEFT_LANES == 8
    if (FAST && KIND == KV_E4M3 && __builtin_expect(has_nan(most), 0)) return false;
#endif
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) store(out[r] + from + v * W, acc[r][v]);
    return true;
}

// out[r] [width] += p [MR][64] times the span's values. width: a multiple of 16.
template <int KIND, int MR>
WEFT_APART void weigh_pair_values(const float* p, const uint8_t* const* values, const uint8_t* const* ahead,
                                  int64_t width, float* const* out) {
    constexpr int NV = pair_vectors(MR);
    const float* rows[MR];
    for (int r = 0; r < MR; r++) rows[r] = p + r * SPAN;
    int64_t from = 0;
    for (; from + NV * W <= width; from += NV * W)
        if (!pair_columns<KIND, MR, NV, BY_TWO<KIND, NV>>(rows, values, ahead, width, from, out))
            pair_columns<KIND, MR, NV, false>(rows, values, ahead, width, from, out);
    if constexpr (NV > 2)
        for (; from + 2 * W <= width; from += 2 * W)
            if (!pair_columns<KIND, MR, 2, BY_TWO<KIND, 2>>(rows, values, ahead, width, from, out))
                pair_columns<KIND, MR, 2, false>(rows, values, ahead, width, from, out);
    if constexpr (NV > 1)
        for (; from < width; from += W) pair_columns<KIND, MR, 1, false>(rows, values, ahead, width, from, out);
}

// As `scores` and `weigh_values`, for a span whose pointers lead to the cached pairs.
static void scores_of_pairs(const KvCache& c, int rows, const float* const* q, const Span<float>& span,
                            const Span<float>& ahead, float* sums) {
    WEFT_BY_PAIR_KIND(c.kind,
                      WEFT_BY_ROW_COUNT(rows, UNIT,
                                        (pair_scores<KIND, MR>(q, (const uint8_t* const*)span.keys,
                                                               (const uint8_t* const*)ahead.keys, c.head_dim, sums))))
}
static void weigh_values_of_pairs(const KvCache& c, int rows, const float* p, const Span<float>& span,
                                  const Span<float>& ahead, float* const* out) {
    WEFT_BY_PAIR_KIND(
        c.kind, WEFT_BY_ROW_COUNT(rows, UNIT,
                                  (weigh_pair_values<KIND, MR>(p, (const uint8_t* const*)span.values,
                                                               (const uint8_t* const*)ahead.values, c.head_dim, out))))
}

}  // namespace paged
}  // namespace WEFT_NS
