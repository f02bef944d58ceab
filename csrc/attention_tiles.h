// The two products of a span of 64 keys for up to UNIT rows: scores = q . k, and values += p . v.
//
// Each output is summed in the order of dimensions (scores) or of keys (values), in its own vector lane: the number and
// the content of a tile's other rows change no bit of it. `ahead` names the blocks of the next span, which are
// prefetched into the second-level cache meanwhile. A core prefetches into the first-level cache only half as fast as
// memory delivers.
#pragma once

#include "cache_read.h"
#include "rows.h"

namespace WEFT_NS {
namespace paged {

constexpr int UNIT = 6;                                  // most rows of a tile
constexpr int SCORE_VECTORS = WEFT_LANES == 16 ? 4 : 2;  // vectors of sums for each row of a tile; registers hold them

// A step of a tile's inner loop is one row of floats, or of bfloat16 pairs: `at` reads W lanes of the row, `each`
// repeats a number (or pair) of x in all lanes, `times` adds their product.
template <class T> struct Steps;
template <> struct Steps<float> {
    static constexpr int COLUMNS = 1;  // numbers of x in a step
    typedef VF V;
    WEFT_INLINE V at(const float* p) { return load(p); }
    WEFT_INLINE V each(const float* x) { return splat(*x); }
    WEFT_INLINE VF times(VF acc, V w, V x) { return fma(x, w, acc); }
};
#if defined(__AVX512BF16__)
template <> struct Steps<uint16_t> {
    static constexpr int COLUMNS = 2;
    typedef __m512bh V;
    WEFT_INLINE V at(const uint16_t* p) { return (V)_mm512_loadu_si512(p); }
    WEFT_INLINE V each(const uint16_t* x) {
        uint32_t pair;
        memcpy(&pair, x, 4);
        return (V)_mm512_set1_epi32((int)pair);
    }
    WEFT_INLINE VF times(VF acc, V w, V x) { return (VF)_mm512_dpbf16_ps((__m512)acc, x, w); }
};
#endif

// sums[r][64] = x[r] . keys.
template <class T, int MR, bool AHEAD>
static void score_tile(const T* const* x, const T* const* keys, const T* const* ahead, int64_t d, float* sums) {
    typedef Steps<T> S;
    constexpr int NV = SCORE_VECTORS, C = S::COLUMNS;
    for (int c = 0; c < SPAN; c += NV * W) {
        const T *w[NV], *next[NV], *rows[MR];
        for (int v = 0; v < NV; v++) {
            int key = c + v * W;
            w[v] = keys[key / KV_BLOCK] + key % KV_BLOCK * C;
            next[v] = AHEAD ? ahead[key / KV_BLOCK] + key % KV_BLOCK * C : nullptr;
        }
        for (int r = 0; r < MR; r++) rows[r] = x[r];
        VF acc[MR][NV];
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) acc[r][v] = zero();
        for (int64_t s = 0; s < d / C; s++) {
            typename S::V b[NV];
            for (int v = 0; v < NV; v++) {
                b[v] = S::at(w[v] + s * KV_BLOCK * C);
                if (AHEAD) fetch(next[v] + s * KV_BLOCK * C);
            }
            for (int r = 0; r < MR; r++) {
                typename S::V a = S::each(rows[r] + s * C);
                for (int v = 0; v < NV; v++) acc[r][v] = S::times(acc[r][v], b[v], a);
            }
        }
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) store(sums + r * SPAN + c + v * W, acc[r][v]);
    }
}

// out[r][0 .. NV * W) += p[r][64] . values, from dimension `from` on.
template <class T, int MR, int NV, bool AHEAD>
WEFT_INLINE void value_columns(const T* p, const T* const* values, const T* const* ahead, int64_t width, int64_t from,
                               float* const* out) {
    typedef Steps<T> S;
    constexpr int C = S::COLUMNS;
    VF acc[MR][NV];
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < NV; v++) acc[r][v] = load(out[r] + from + v * W);
    for (int block = 0; block < SPAN_BLOCKS; block++) {
        const T* w = values[block] + from * C;
        const T* next = AHEAD ? ahead[block] + from * C : nullptr;
        const T* weights = p + block * KV_BLOCK;
        for (int s = 0; s < KV_BLOCK / C; s++, w += width * C, next += AHEAD ? width * C : 0) {
            typename S::V b[NV];
            for (int v = 0; v < NV; v++) {
                b[v] = S::at(w + v * W * C);
                if (AHEAD) fetch(next + v * W * C);
            }
            for (int r = 0; r < MR; r++) {
                typename S::V a = S::each(weights + r * SPAN + s * C);
                for (int v = 0; v < NV; v++) acc[r][v] = S::times(acc[r][v], b[v], a);
            }
        }
    }
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < NV; v++) store(out[r] + from + v * W, acc[r][v]);
}

template <class T, int MR, bool AHEAD>
static void value_tile(const T* p, const T* const* values, const T* const* ahead, int64_t width, float* const* out) {
    constexpr int NV = SCORE_VECTORS;
    int64_t from = 0;
    for (; from + NV * W <= width; from += NV * W) value_columns<T, MR, NV, AHEAD>(p, values, ahead, width, from, out);
    if constexpr (NV > 2)
        for (; from + 2 * W <= width; from += 2 * W) value_columns<T, MR, 2, AHEAD>(p, values, ahead, width, from, out);
    for (; from < width; from += W) value_columns<T, MR, 1, AHEAD>(p, values, ahead, width, from, out);
}

// out [rows][64] = q . keys, for up to UNIT rows. ahead: blocks to prefetch meanwhile, or null.
template <class T>
static void scores(int rows, const T* const* q, const Span<T>& span, const T* const* ahead, int64_t d, float* out) {
    if (ahead) {
        WEFT_BY_ROW_COUNT(rows, UNIT, (score_tile<T, MR, true>(q, span.keys, ahead, d, out)));
    } else {
        WEFT_BY_ROW_COUNT(rows, UNIT, (score_tile<T, MR, false>(q, span.keys, nullptr, d, out)));
    }
}
// out[r] [width] += p [rows][64] times the span's values.
template <class T>
static void weigh_values(int rows, const T* p, const Span<T>& span, const T* const* ahead, int64_t width,
                         float* const* out) {
    if (ahead) {
        WEFT_BY_ROW_COUNT(rows, UNIT, (value_tile<T, MR, true>(p, span.values, ahead, width, out)));
    } else {
        WEFT_BY_ROW_COUNT(rows, UNIT, (value_tile<T, MR, false>(p, span.values, nullptr, width, out)));
    }
}

}  // namespace paged
}  // namespace WEFT_NS
