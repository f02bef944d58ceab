// Rows of x times some columns of a column group (64 rows of w), added to sums: the inner loops of linear.h.
//
// A tile multiplies up to TILE_ROWS rows. It reads w from a buffer of unpacked numbers, from dense panels where they
// lie, or from codes (quantized values) that it unpacks in registers. Where `group` columns share a scale, the group is
// summed first, then scaled and added. An output is always summed column by column, so every way gives a row the same
// bits, whatever other rows the tile has.
#pragma once

#include "codes.h"
#include "kernels.h"
#include "simd.h"

namespace WEFT_NS {

constexpr int TILE_ROWS = WEFT_LANES == 16 ? 6 : 4;
constexpr int SCALED_ROWS = 3;   // rows of a tile where groups have scales: two sets of sums stay in registers
constexpr int PACKED_ROWS = 6;   // most rows of x for which codes are unpacked in registers
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

// Columns [k0, k1) of a column group. a, b: its two panels from column k0 on, stored as `kind`; unpacked numbers are
// W_F32 or W_BF16. zero: the code of 0, where the chunk has codes. scales: those of its groups of `group` columns, or
// null. next: bytes to the same columns of the next column group, which are prefetched meanwhile; 0: they are not.
struct Chunk {
    const uint8_t *a, *b;
    int64_t k0, k1;
    int kind, zero;
    const uint16_t* numbers;  // bfloat16 numbers of the codes (Weight::numbers)
    const Scales* scales;
    int64_t group, next;
};

// Prefetches from the next column group the unit that begins with step s, for columns [c0, c0 + columns) of the 64.
template <int KIND> WEFT_INLINE void fetch_next(const Chunk& chunk, int64_t s, int c0, int columns) {
    if (!chunk.next) return;
    const int64_t at = s / UNIT<KIND> * UNIT_BYTES<KIND> + chunk.next;
    if (c0 < PANEL) fetch_unit<KIND>(chunk.a + at);
    if (c0 + columns > PANEL) fetch_unit<KIND>(chunk.b + at);
}

// ---- sums in registers ----------------------------------------------------------------------------------------------

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

// ---- rows of floats -------------------------------------------------------------------------------------------------

template <int MR, int KIND>
static void rows_times(const float* const* x, const float* const* x_sums, const Chunk& chunk, float* sums, bool fresh,
                       const uint8_t*) {
    constexpr int NV = MR == 1 || (W == 16 && MR <= 3) ? 4 : 2;
    const Numbers numbers(chunk.zero);
    const float* xs[MR];
    for (int r = 0; r < MR; r++) xs[r] = x[r] + chunk.k0;
    for (int c0 = 0; c0 < GROUP; c0 += NV * W)
        with_sums<MR, NV>(chunk, x_sums, c0, sums, fresh,
                          [&](VF acc[MR][NV], int64_t s0, int64_t s1) __attribute__((always_inline)) {
#pragma GCC unroll 2
            for (int64_t s = s0; s < s1; s += UNIT<KIND>) {
                if (UNIT<KIND> > 1) fetch_next<KIND>(chunk, s, c0, NV * W);
#pragma GCC unroll 8
                for (int j = 0; j < UNIT<KIND>; j++) {
                    VF first[NV], second[NV];
                    for (int v = 0; v < NV; v++) {
                        int c = c0 + v * W;
                        const uint8_t* panel = c < PANEL ? chunk.a : chunk.b;
                        if constexpr (KIND == W_F32) {
                            first[v] = load((const float*)panel + 2 * s * PANEL + c % PANEL);
                            second[v] = load((const float*)panel + (2 * s + 1) * PANEL + c % PANEL);
                        } else {
                            const uint8_t* unit = panel + s / UNIT<KIND> * UNIT_BYTES<KIND>;
                            pair_floats<KIND>(unit, j, c % PANEL, numbers, first[v], second[v]);
                        }
                    }
                    for (int r = 0; r < MR; r++) {
                        VF p = splat(xs[r][2 * (s + j)]), q = splat(xs[r][2 * (s + j) + 1]);
                        for (int v = 0; v < NV; v++) acc[r][v] = fma(q, second[v], fma(p, first[v], acc[r][v]));
                    }
                }
            }
        });
    if (chunk.k1 % 2 && KIND == W_F32)  // a last column without a partner
        for (int r = 0; r < MR; r++)
            for (int c = 0; c < GROUP; c += W) {
                const float* column = (const float*)(c < PANEL ? chunk.a : chunk.b) + (chunk.k1 - 1 - chunk.k0) * PANEL;
                float* sum = sums + r * GROUP + c;
                store(sum, fma(splat(x[r][chunk.k1 - 1]), load(column + c % PANEL), load(sum)));
            }
}

// ---- rows of bfloat16 -----------------------------------------------------------------------------------------------

#if defined(__AVX512BF16__)
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
            constexpr int STEPS = UNIT<KIND>;
#pragma GCC unroll 2
            for (int64_t s = s0; s < s1; s += STEPS) {
                const int64_t skip = s / UNIT<KIND> * UNIT_BYTES<KIND>;
                const uint8_t *a = chunk.a + skip, *b = chunk.b + skip;
                // A single row needs no prefetch with 8-bit codes: its products keep up with memory.
                if (UNIT<KIND> > 1 && (KIND != W_Q8 || MR > 1)) fetch_next<KIND>(chunk, s, c0, NV * 16);
#pragma GCC unroll 8
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

// rows: at most TILE_ROWS, with scales at most SCALED_ROWS.
template <int KIND, class T>
static void rows_of(const T* const* x, const float* const* x_sums, int rows, const Chunk& chunk, float* sums,
                    bool fresh, const uint8_t* ahead) {
    switch (rows) {
        case 1: rows_times<1, KIND>(x, x_sums, chunk, sums, fresh, ahead); break;
        case 2: rows_times<2, KIND>(x, x_sums, chunk, sums, fresh, ahead); break;
        case 3: rows_times<3, KIND>(x, x_sums, chunk, sums, fresh, ahead); break;
        case 4: rows_times<4, KIND>(x, x_sums, chunk, sums, fresh, ahead); break;
        case 5: rows_times<5, KIND>(x, x_sums, chunk, sums, fresh, ahead); break;
        default: rows_times<6, KIND>(x, x_sums, chunk, sums, fresh, ahead); break;
    }
}

// Multiplies a tile: rows of floats, or of bfloat16 on an ISA level that has bfloat16 products.
WEFT_INLINE void tile(const float* const* x, const float* const* x_sums, int rows, const Chunk& chunk, float* sums,
                      bool fresh, const uint8_t* ahead) {
    if (chunk.kind == W_F32) rows_of<W_F32>(x, x_sums, rows, chunk, sums, fresh, ahead);
    else { WEFT_BY_STORAGE(chunk.kind, rows_of<KIND>(x, x_sums, rows, chunk, sums, fresh, ahead)) }
}
#if defined(__AVX512BF16__)
WEFT_INLINE void tile(const uint16_t* const* x, const float* const* x_sums, int rows, const Chunk& chunk, float* sums,
                      bool fresh, const uint8_t* ahead) {
    switch (chunk.kind) {
        case W_BF16: rows_of<W_BF16>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
        case W_Q4: rows_of<W_Q4>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
        case W_Q5: rows_of<W_Q5>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
        case W_Q6: rows_of<W_Q6>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
        default: rows_of<W_Q8>(x, x_sums, rows, chunk, sums, fresh, ahead); break;
    }
}
#endif

}  // namespace WEFT_NS
