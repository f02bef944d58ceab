// Rows of x times some columns of a column group (64 rows of w), added to sums: the inner loops of linear.h.
//
// A tile multiplies up to TILE_ROWS rows. Rows of floats read w where it lies and turn it into floats in registers
// (codes.h). Rows of bfloat16 pairs read dense panels where they lie, codes (quantized values) likewise for few rows,
// and else a buffer of unpacked numbers. Where `group` columns share a scale, the group is summed first, then scaled and
// added. An output is always summed column by column, so every way gives a row the same bits, whatever other rows the
// tile has.
#pragma once

#include "codes.h"
#include "input_rows.h"
#include "kernels.h"
#include "rows.h"
#include "simd.h"

namespace WEFT_NS {

constexpr int TILE_ROWS = WEFT_LANES == 16 ? 6 : 5;
constexpr int SCALED_ROWS = 3;   // rows of bfloat16 pairs in a tile where groups have scales: two sets of sums
constexpr int PACKED_ROWS = 6;   // most rows of bfloat16 pairs for which codes are unpacked in registers
constexpr int MOST_GROUPS = 16;  // most groups of columns with scales in a chunk

// Panels from a column group's panel pa to the next column group's: 1 for a gated weight, whose gate and up panels lie
// in two halves, else 2.
WEFT_INLINE int64_t panels_on(int64_t pa, int64_t pb) { return pb == pa + 1 ? 2 : 1; }

// Where the tile that begins with row r prefetches the next column group while it computes. The next group's columns
// lie `skip` bytes behind the chunk's panels a and b, `bytes` bytes in each. Null for the first tile, and once earlier
// tiles have prefetched everything.
WEFT_INLINE const uint8_t* next_group(const uint8_t* a, const uint8_t* b, int64_t skip, int64_t bytes, int64_t r) {
    int64_t at = (r / TILE_ROWS - 1) * (bytes / 2);
    if (r == 0 || at >= 2 * bytes) return nullptr;
    return at < bytes ? a + skip + at : b + skip + at - bytes;
}

// ---- scales ---------------------------------------------------------------------------------------------------------

// W scales (or offsets) as floats; bytes without their super scale.
template <int KIND>
WEFT_INLINE VF load_scale(const void* values, int64_t at) {
    if constexpr (KIND == S_F32) return load((const float*)values + at);
    if constexpr (KIND == S_F16) return load_f16((const uint16_t*)values + at);
    if constexpr (KIND == S_U8 || KIND == S_I8) {
        VB bytes;
        memcpy(&bytes, (const uint8_t*)values + at, sizeof bytes);
        VI integers = (VI)widen(bytes);
        if (KIND == S_I8) integers = (integers << 24) >> 24;
        return __builtin_convertvector(integers, VF);
    }
}
// clang-format off: a table of cases
#define WEFT_BY_SCALE(kind, ...)                                                                                       \
    switch (kind) {                                                                                                    \
        case S_F32: { constexpr int KIND = S_F32; __VA_ARGS__; break; }                                                \
        case S_F16: { constexpr int KIND = S_F16; __VA_ARGS__; break; }                                                \
        case S_U8: { constexpr int KIND = S_U8; __VA_ARGS__; break; }                                                  \
        default: { constexpr int KIND = S_I8; __VA_ARGS__; break; }                                                    \
    }
// clang-format on

// Scales and offsets [count][64] as floats, for the groups of columns of a chunk.
struct Scales {
    int64_t count;
    bool has_offsets;
    alignas(64) float scale[MOST_GROUPS][GROUP];
    alignas(64) float offset[MOST_GROUPS][GROUP];

    // Reads those of groups [first, first + groups) in panels pa and pb.
    void load(const Weight& w, int64_t pa, int64_t pb, int64_t first, int64_t groups) {
        count = groups, has_offsets = w.offsets != nullptr;
        WEFT_BY_SCALE(w.scale_kind, {
            fill<KIND>(w, w.scales, w.super_scales, pa, pb, first, scale);
            if (has_offsets) fill<KIND>(w, w.offsets, w.super_offsets, pa, pb, first, offset);
        })
    }

    template <int KIND>
    void fill(const Weight& w, const void* values, const uint16_t* supers, int64_t pa, int64_t pb, int64_t first,
              float (*out)[GROUP]) {
        const int64_t all = w.k / w.group, all_supers = all / w.groups_per_super;  // in a panel
        constexpr int SIZE = KIND == S_F32 ? 4 : KIND == S_F16 ? 2 : 1;
        const int64_t to_next = panels_on(pa, pb) * all * PANEL * SIZE;  // bytes to the next column group's
        const int64_t super = first / w.groups_per_super, end = (super + 1) * w.groups_per_super - first;
        for (int c = 0; c < GROUP; c += W) {
            int64_t p = c < PANEL ? pa : pb, at = (p * all + first) * PANEL + c % PANEL, left = end;
            const uint16_t* next = supers + (p * all_supers + super) * PANEL + c % PANEL;
            VF factor = KIND == S_U8 || KIND == S_I8 ? load_f16(next) : zero();
            for (int64_t g = 0; g < count; g++, at += PANEL, left--) {
                if (c % PANEL * SIZE % 64 == 0) fetch((const uint8_t*)values + at * SIZE + to_next);
                if ((KIND == S_U8 || KIND == S_I8) && left == 0) {
                    next += PANEL, left = w.groups_per_super;
                    factor = load_f16(next);
                }
                VF v = load_scale<KIND>(values, at);
                store(out[g] + c, KIND == S_U8 || KIND == S_I8 ? v * factor : v);
            }
        }
    }
};

// Columns [k0, k1) of a column group. a, b: its two panels from column k0 on, stored as `kind`. starts: where the rows'
// starts (sum_row) lie behind their sums, for floats times codes whose zero is not 0; else 0. scales: those of its
// groups of `group` columns, or null. next: bytes to the columns that are multiplied next, which are prefetched
// meanwhile; 0: they are not.
struct Chunk {
    const uint8_t *a, *b;
    int64_t k0, k1;
    int kind;
    int64_t starts;
    const uint16_t* numbers;  // bfloat16 numbers of the codes (Weight::numbers)
    const Scales* scales;
    int64_t group, next;
};

// Prefetches what a pass over rows [row, row + rows) of a panel reads of the unit at p.
template <int KIND, int ROWS> WEFT_INLINE void fetch_part(const uint8_t* p, int row) {
    constexpr int BYTES = KIND == W_F16 ? 2 : 4, SPAN = ROWS < PANEL ? ROWS : PANEL;
    for (int part = 0; part < UNIT_BYTES<KIND>; part += 128)
        for (int line = 0; line < BYTES * SPAN && part + line < UNIT_BYTES<KIND>; line += 64)
            fetch(p + part + BYTES * row + line);
}

// ---- rows of floats -------------------------------------------------------------------------------------------------

// Vectors of each row whose sums stay in registers, with the numbers of w and of x beside them.
template <int KIND> constexpr int float_vectors(int rows) {
    const bool joined = KIND == W_Q5 || KIND == W_Q6;  // words stay in registers, too
    if (W == 16 || (rows == 1 && (W == 4 || joined))) return 4;
    return rows == 1 ? 8 : rows == 2 && W == 8 && KIND >= W_Q4 && !joined ? 4 : 2;
}

// Adds a block's sums of products to the outputs: times the scale of its group g, and its offset times x_sums[.][at].
template <int MR, int NV>
WEFT_INLINE void add_block(const VF part[MR][NV], const float* const* x_sums, const Scales* scales, int64_t g,
                           int64_t at, float* sums, bool fresh, int c0) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) {
        const int c = c0 + v * W;
        const VF scale = scales ? load(scales->scale[g] + c) : splat(1.0f);
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++) {
            float* target = sums + r * GROUP + c;
            VF sum = fma(part[r][v], scale, fresh ? zero() : load(target));
            if (scales && scales->has_offsets) sum = fma(splat(x_sums[r][at]), load(scales->offset[g] + c), sum);
            store(target, sum);
        }
    }
}

// CODES: the panels are codes, or numbers of codes that were unpacked.
template <int MR, int KIND, bool CODES>
WEFT_APART void rows_times(const float* const* x, const float* const* x_sums, const Chunk& chunk, float* sums,
                           bool fresh) {
    constexpr int NV = float_vectors<KIND>(MR), C = UNIT<KIND>;
    constexpr bool both = NV * W > PANEL;
    const int64_t columns = chunk.k1 - chunk.k0;
    const int64_t block = !CODES ? columns : chunk.scales ? chunk.group : SUM_COLUMNS;
    const float* xs[MR];
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++) xs[r] = x[r] + chunk.k0;
    for (int c0 = 0; c0 < GROUP; c0 += NV * W) {
        const uint8_t *first = c0 < PANEL ? chunk.a : chunk.b, *second = both ? chunk.b : first;
        const int row = c0 % PANEL;
        for (int64_t k0 = 0, g = 0; k0 < columns; k0 += block, g++) {
            const int64_t k1 = k0 + block < columns ? k0 + block : columns;
            const int64_t at = (chunk.k0 + k0) / block;
            VF acc[MR][NV];
#pragma GCC unroll 8
            for (int r = 0; r < MR; r++) {
                const VF start = CODES && chunk.starts ? splat(x_sums[r][chunk.starts + at]) : zero();
#pragma GCC unroll 8
                for (int v = 0; v < NV; v++) acc[r][v] = CODES || fresh ? start : load(sums + r * GROUP + c0 + v * W);
            }
#pragma GCC unroll 1
            for (int64_t k = k0; k < k1; k += C) {
                const uint8_t *a = first + k / C * UNIT_BYTES<KIND>, *b = second + k / C * UNIT_BYTES<KIND>;
                fetch_part<KIND, NV * W>(a + chunk.next, row);
                if (both) fetch_part<KIND, NV * W>(b + chunk.next, row);
#pragma GCC unroll 8
                for (int q = 0; q < C / WORD<KIND>; q++) {
                    decltype(word_of<KIND>(a, 0, 0)) words[NV];
#pragma GCC unroll 8
                    for (int v = 0; v < NV; v++)
                        words[v] = both ? word_of<KIND>(v * W < PANEL ? a : b, q, v * W % PANEL)
                                        : word_of<KIND>(a, q, row + v * W);
#pragma GCC unroll 8
                    for (int i = 0; i < WORD<KIND>; i++) {
                        const int64_t nothing = unknown_zero();
                        VF w[NV];
#pragma GCC unroll 8
                        for (int v = 0; v < NV; v++) w[v] = column_of<KIND>(words[v], i, nothing);
#pragma GCC unroll 8
                        for (int r = 0; r < MR; r++) {
                            const VF p = splat(xs[r][k + q * WORD<KIND> + i]);
#pragma GCC unroll 8
                            for (int v = 0; v < NV; v++) acc[r][v] = fma(p, w[v], acc[r][v]);
                        }
                    }
                }
            }
            if (CODES) add_block<MR, NV>(acc, x_sums, chunk.scales, g, at, sums, fresh && k0 == 0, c0);
            else
#pragma GCC unroll 8
                for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
                    for (int v = 0; v < NV; v++) store(sums + r * GROUP + c0 + v * W, acc[r][v]);
        }
    }
}

// ---- rows of bfloat16 -----------------------------------------------------------------------------------------------

#if defined(__AVX512BF16__)

// Prefetches from the next column group the unit that begins with step s, for columns [c0, c0 + columns) of the 64.
template <int KIND> WEFT_INLINE void fetch_next(const Chunk& chunk, int64_t s, int c0, int columns) {
    if (!chunk.next) return;
    const int64_t at = 2 * s / UNIT<KIND> * UNIT_BYTES<KIND> + chunk.next;
    if (c0 < PANEL) fetch_unit<KIND>(chunk.a + at);
    if (c0 + columns > PANEL) fetch_unit<KIND>(chunk.b + at);
}

template <int MR, int NV>
WEFT_INLINE void load_sums(VF acc[MR][NV], const float* sums, bool fresh) {
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < NV; v++) acc[r][v] = fresh ? zero() : load(sums + r * GROUP + v * W);
}
template <int MR, int NV>
WEFT_INLINE void store_sums(const VF acc[MR][NV], float* sums) {
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < NV; v++) store(sums + r * GROUP + v * W, acc[r][v]);
}

// Adds the chunk's steps to sums by calls of body(acc, s0, s1), which adds steps [s0, s1) to acc. A step is a pair of
// columns, counted from k0. Without scales one call adds all steps. With scales there is a call for each group of
// columns, whose sum is scaled and added. x_sums: each row's sums over the groups, which offsets are multiplied by.
template <int MR, int NV, class Body>
WEFT_INLINE void with_sums(const Chunk& chunk, const float* const* x_sums, int c0, float* sums, bool fresh,
                           const Body& body) {
    VF acc[MR][NV];
    load_sums<MR, NV>(acc, sums + c0, fresh);
    if (!chunk.scales) body(acc, 0, (chunk.k1 - chunk.k0) / 2);
    else
        for (int64_t g = 0; g < chunk.scales->count; g++) {
            VF part[MR][NV];
            for (int r = 0; r < MR; r++)
                for (int v = 0; v < NV; v++) part[r][v] = zero();
            body(part, g * chunk.group / 2, (g + 1) * chunk.group / 2);
            for (int v = 0; v < NV; v++) {
                VF scale = load(chunk.scales->scale[g] + c0 + v * W);
                for (int r = 0; r < MR; r++) acc[r][v] = fma(part[r][v], scale, acc[r][v]);
            }
            if (chunk.scales->has_offsets) {
                int64_t at = chunk.k0 / chunk.group + g;
                for (int v = 0; v < NV; v++) {
                    VF offset = load(chunk.scales->offset[g] + c0 + v * W);
                    for (int r = 0; r < MR; r++) acc[r][v] = fma(splat(x_sums[r][at]), offset, acc[r][v]);
                }
            }
        }
    store_sums<MR, NV>(acc, sums + c0);
}

// ahead: memory to prefetch, a cache line at each step, or null.
template <int MR, int KIND>
static void rows_times(const uint16_t* const* x, const float* const* x_sums, const Chunk& chunk, float* sums,
                       bool fresh, const uint8_t* ahead) {
    constexpr int NV = KIND == W_BF16 || MR <= 3 ? 4 : 2;  // codes need registers for their lookup
    const Lookup<KIND> lookup(chunk.numbers);
    const uint16_t* xs[MR];
    for (int r = 0; r < MR; r++) xs[r] = x[r] + chunk.k0;
    for (int c0 = 0; c0 < GROUP; c0 += NV * 16)
        with_sums<MR, NV>(chunk, x_sums, c0, sums, fresh,
                          [&](VF acc[MR][NV], int64_t s0, int64_t s1) __attribute__((always_inline)) {
            constexpr int STEPS = UNIT<KIND> / 2;
#pragma GCC unroll 2
            for (int64_t s = s0; s < s1; s += STEPS) {
                const int64_t skip = s / STEPS * UNIT_BYTES<KIND>;
                const uint8_t *a = chunk.a + skip, *b = chunk.b + skip;
                // A single row needs no prefetch with 8-bit codes: its products keep up with memory.
                if (STEPS > 1 && (KIND != W_Q8 || MR > 1)) fetch_next<KIND>(chunk, s, c0, NV * 16);
#pragma GCC unroll 16
                for (int j = 0; j < STEPS; j++) {
                    if (MR > 2 && KIND == W_BF16 && ahead) fetch(ahead + 64 * (s + j));
                    __m512bh w[NV];
                    for (int v = 0; v < NV; v++) {
                        int c = c0 + 16 * v;
                        w[v] = (__m512bh)pair_of_unit<KIND>(lookup, c < PANEL ? a : b, j, c % PANEL);
                    }
                    for (int r = 0; r < MR; r++) {
                        uint32_t pair;
                        memcpy(&pair, xs[r] + 2 * (s + j), 4);
                        __m512bh p = (__m512bh)_mm512_set1_epi32((int)pair);
                        for (int v = 0; v < NV; v++) acc[r][v] = (VF)_mm512_dpbf16_ps((__m512)acc[r][v], p, w[v]);
                    }
                }
            }
        });
}
#endif

// ---- by number of rows and kind -------------------------------------------------------------------------------------

template <int KIND, bool CODES>
static void float_tile(const float* const* x, const float* const* x_sums, int rows, const Chunk& chunk, float* sums,
                       bool fresh) {
    WEFT_BY_ROW_COUNT(rows, TILE_ROWS, (rows_times<MR, KIND, CODES>(x, x_sums, chunk, sums, fresh)));
}
// unpacked: chunk.kind is W_F32, but the panels are numbers of codes.
WEFT_INLINE void tile(const float* const* x, const float* const* x_sums, int rows, const Chunk& chunk, float* sums,
                      bool fresh, bool unpacked) {
    if (unpacked) return float_tile<W_F32, true>(x, x_sums, rows, chunk, sums, fresh);
    switch (chunk.kind) {
        case W_F32: float_tile<W_F32, false>(x, x_sums, rows, chunk, sums, fresh); break;
        case W_BF16: float_tile<W_BF16, false>(x, x_sums, rows, chunk, sums, fresh); break;
        case W_F16: float_tile<W_F16, false>(x, x_sums, rows, chunk, sums, fresh); break;
        case W_Q4: float_tile<W_Q4, true>(x, x_sums, rows, chunk, sums, fresh); break;
        case W_Q5: float_tile<W_Q5, true>(x, x_sums, rows, chunk, sums, fresh); break;
        case W_Q6: float_tile<W_Q6, true>(x, x_sums, rows, chunk, sums, fresh); break;
        default: float_tile<W_U8, true>(x, x_sums, rows, chunk, sums, fresh); break;
    }
}

#if defined(__AVX512BF16__)
// rows: at most TILE_ROWS, with scales at most SCALED_ROWS.
template <int KIND>
static void pair_tile(const uint16_t* const* x, const float* const* x_sums, int rows, const Chunk& chunk, float* sums,
                      bool fresh, const uint8_t* ahead) {
    WEFT_BY_ROW_COUNT(rows, TILE_ROWS, (rows_times<MR, KIND>(x, x_sums, chunk, sums, fresh, ahead)));
}
WEFT_INLINE void tile(const uint16_t* const* x, const float* const* x_sums, int rows, const Chunk& chunk, float* sums,
                      bool fresh, const uint8_t* ahead) {
    switch (chunk.kind) {
        case W_BF16: pair_tile<W_BF16>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
        case W_Q4: pair_tile<W_Q4>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
        case W_Q5: pair_tile<W_Q5>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
        case W_Q6: pair_tile<W_Q6>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
        default: pair_tile<W_Q8>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
    }
}
#endif

}  // namespace WEFT_NS
