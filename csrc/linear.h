// x @ w.T for packed weights of every kind, with bias, activation, gate and residual in the same pass (the epilogue).
//
// A task computes one column group: 64 rows of w, that is 64 columns of the result, in chunks of columns that stay in
// the first-level cache while tiles of up to TILE_ROWS rows of x are multiplied by them. Rows of floats multiply every
// weight where it lies. Rows of bfloat16 pairs do so with dense weights, and for few rows with codes (quantized values);
// for more rows, codes are unpacked once into a buffer. An output element is summed column by column, in chunks whose
// borders depend on the weight alone: never on the number of rows, their order, or the thread.
#pragma once

#include <stdlib.h>

#include "byte_tiles.h"
#include "input_rows.h"
#include "kernels.h"
#include "parallel.h"
#include "product_tiles.h"
#include "simd.h"

#if defined(WEFT_AMX)
#include "tiles.h"
#endif

namespace WEFT_NS {

constexpr int ROW_BLOCK = 192;     // rows of x whose sums are held at once
constexpr int CHUNK_BYTES = 4096;  // bytes of a panel multiplied where it lies, while the next are fetched
constexpr int PAIR_BYTES = 8192;   // bytes of pairs unpacked at once: two panels fit the L1 cache with x
constexpr int MOST_COLUMNS = 256;  // most columns unpacked at once: the largest group with one scale
constexpr int DENSE_CHUNK = 2048;  // columns multiplied before sums are stored, by bfloat16 pairs without a buffer
constexpr int UNPACKED_ROWS = 24;  // more rows of floats multiply codes that were unpacked to a buffer

#if defined(WEFT_AMX)
// Adds a chunk of unpacked bfloat16 to sums [rows][64] by AMX tiles, where groups of columns have scales: each group is
// summed first, then scaled and added.
static void scaled_by_tiles(const uint16_t* const* x, const float* const* x_sums, int64_t rows, const Chunk& chunk,
                            float* sums) {
    alignas(64) float part[32 * GROUP];
    for (int64_t r0 = 0; r0 < rows; r0 += 32)
        for (int64_t g = 0; g < chunk.scales->count; g++) {
            int64_t count = rows - r0 < 32 ? rows - r0 : 32, at = g * chunk.group, skip = at * 2 * PANEL;
            tiles_rows(x + r0, count, chunk.a + skip, chunk.b + skip, chunk.k0 + at, chunk.k0 + at + chunk.group, part,
                       true);
            for (int64_t r = 0; r < count; r++)
                for (int c = 0; c < GROUP; c += W) {
                    float* sum = sums + (r0 + r) * GROUP + c;
                    VF v = fma(load(part + r * GROUP + c), load(chunk.scales->scale[g] + c), load(sum));
                    if (chunk.scales->has_offsets)
                        v = fma(splat(x_sums[r0 + r][chunk.k0 / chunk.group + g]), load(chunk.scales->offset[g] + c),
                                v);
                    store(sum, v);
                }
        }
}
#endif

// Multiplies rows of x by a column group, panels pa and pb of w: sums [rows][64]. x: pointers to rows [k]. x_sums: each
// row's sums over blocks of columns (Rows), null for a weight that needs none. Here: rows of floats, or in 8 bits.
template <class T>
static void multiply(const Weight& w, int64_t pa, int64_t pb, const T* const* x, const float* const* x_sums,
                     int64_t rows, float* sums) {
    constexpr bool floats = sizeof(T) == 4;
    const int64_t size = panel_bytes(w), column = size / w.k, following = panels_on(pa, pb) * size;
    const uint8_t *panel_a = (const uint8_t*)w.data + pa * size, *panel_b = (const uint8_t*)w.data + pb * size;
    const bool scaled = w.group > 0 && w.group < w.k;
    const bool codes = w.kind >= W_Q4, unpacked = floats && codes && rows > UNPACKED_ROWS;
    int64_t step = CHUNK_BYTES / column;
    if (codes)
        step = scaled && w.group > SUM_COLUMNS ? w.group : unpacked ? SUM_COLUMNS : step / SUM_COLUMNS * SUM_COLUMNS;
    alignas(64) float buffer[2][floats ? MOST_COLUMNS * PANEL : 1];
    Scales scales;
    for (int64_t k0 = 0; k0 < w.k; k0 += step) {
        const int64_t k1 = k0 + step < w.k ? k0 + step : w.k, skip = k0 * column;
        // One row of plain numbers streams by itself: the processor fetches ahead better than we would.
        const int64_t next = rows == 1 && !scaled ? 0 : k1 < w.k ? step * column : following - skip;
        Chunk chunk = {panel_a + skip, panel_b + skip, k0,      k1,  w.kind, codes && w.zero ? sum_blocks(w) + 1 : 0,
                       nullptr,        nullptr,        w.group, next};
        if (unpacked) {
            unpack_floats(w, panel_a, k0, k1, buffer[0]);
            unpack_floats(w, panel_b, k0, k1, buffer[1]);
            chunk.a = (uint8_t*)buffer[0], chunk.b = (uint8_t*)buffer[1], chunk.kind = W_F32, chunk.next = 0;
        }
        if (scaled) {
            scales.load(w, pa, pb, k0 / w.group, (k1 - k0) / w.group);
            chunk.scales = &scales;
        }
        const int64_t most = floats ? TILE_ROWS : BYTE_ROWS, tiles = (rows + most - 1) / most;
        for (int64_t t = 0; t < tiles; t++) {  // of as equal numbers of rows as can be
            const int64_t r0 = rows * t / tiles, count = rows * (t + 1) / tiles - r0;
            if constexpr (floats)
                tile(x + r0, x_sums ? x_sums + r0 : nullptr, (int)count, chunk, sums + r0 * GROUP, k0 == 0, unpacked);
            else tile(x + r0, w, (int)count, chunk, sums + r0 * GROUP, k0 == 0);
            chunk.next = 0;
        }
    }
}

#if defined(__AVX512BF16__)
// The same for rows of bfloat16 pairs.
static void multiply(const Weight& w, int64_t pa, int64_t pb, const uint16_t* const* x, const float* const* x_sums,
                     int64_t rows, float* sums) {
    constexpr int column = PANEL * 2;  // bytes of a column of numbers
    const bool direct = w.kind == W_BF16, scaled = w.group > 0 && w.group < w.k;
#if defined(WEFT_AMX)
    const bool by_tiles = (scaled ? w.group : w.k) % 32 == 0;
#else
    constexpr bool by_tiles = false;
#endif
    const bool in_registers = rows <= PACKED_ROWS && !by_tiles && !direct;
    const int64_t columns = direct || in_registers ? DENSE_CHUNK : PAIR_BYTES / column;
    const int64_t groups = !scaled || w.group > columns      ? 1
                           : columns / w.group < MOST_GROUPS ? columns / w.group
                                                             : MOST_GROUPS;
    const int64_t step = scaled ? groups * w.group : columns;
    alignas(64) uint16_t buffer[2][MOST_COLUMNS * PANEL];
    Scales scales;
    const uint8_t *panel_a = (const uint8_t*)w.data + pa * panel_bytes(w),
                  *panel_b = (const uint8_t*)w.data + pb * panel_bytes(w);
    const int64_t following = panels_on(pa, pb) * panel_bytes(w);  // bytes to the next column group
    const int most = scaled ? SCALED_ROWS : TILE_ROWS;
    for (int64_t k0 = 0; k0 < w.k; k0 += step) {
        Chunk chunk = {(uint8_t*)buffer[0],
                       (uint8_t*)buffer[1],
                       k0,
                       k0 + step < w.k ? k0 + step : w.k,
                       W_BF16,
                       0,
                       w.numbers,
                       nullptr,
                       w.group,
                       0};
        if (direct || in_registers) {
            int64_t skip = k0 * (panel_bytes(w) / w.k);
            chunk.a = panel_a + skip, chunk.b = panel_b + skip, chunk.kind = w.kind;
            chunk.next = in_registers ? following : 0;
        } else {
            unpack_pairs(w, panel_a, k0, chunk.k1, buffer[0], following);
            unpack_pairs(w, panel_b, k0, chunk.k1, buffer[1], following);
        }
        if (scaled) {
            scales.load(w, pa, pb, k0 / w.group, (chunk.k1 - k0) / w.group);
            chunk.scales = &scales;
        }
        const bool fresh = k0 == 0;
#if defined(WEFT_AMX)
        if (by_tiles) {
            if (fresh && scaled) memset(sums, 0, sizeof(float) * GROUP * rows);
            if (scaled) scaled_by_tiles(x, x_sums, rows, chunk, sums);
            else tiles_rows(x, rows, chunk.a, chunk.b, k0, chunk.k1, sums, fresh);
            continue;
        }
#endif
        // While the later tiles of rows compute, they prefetch the next column group, as far as they get.
        int64_t bytes = (chunk.k1 - k0) * column;
        for (int64_t r = 0; r < rows; r += most) {
            int count = rows - r < most ? (int)(rows - r) : most;
            const uint8_t* ahead = direct ? next_group(chunk.a, chunk.b, following, bytes, r) : nullptr;
            tile(x + r, x_sums ? x_sums + r : nullptr, count, chunk, sums + r * GROUP, fresh, ahead);
            chunk.next = 0;
        }
    }
}
#endif

// ---- the end of a row -----------------------------------------------------------------------------------------------

// W scales (or offsets) from row c of panel p on, of a weight that has one scale for each row.
WEFT_INLINE VF row_values(const Weight& w, const void* values, const uint16_t* supers, int64_t p, int c) {
    VF found = zero();
    WEFT_BY_SCALE(w.scale_kind, found = load_scale<KIND>(values, p * PANEL + c))
    return supers ? found * load_f16(supers + p * PANEL + c) : found;
}

// Turns W sums of codes times x into products with the weight's numbers, for the rows from row c of panel p on:
// v * scale + x_sum * offset. x_sum: the sum of the row of x.
WEFT_INLINE VF scaled_by_row(const Weight& w, VF v, int64_t p, int c, const float* x_sum) {
    v = v * row_values(w, w.scales, w.super_scales, p, c);
    return w.offsets ? fma(splat(*x_sum), row_values(w, w.offsets, w.super_offsets, p, c), v) : v;
}

// The epilogue of rows of x and one column group: scales, bias, activation, gate, alpha and residual, into out. sums:
// [rows][64]. x_sum(r): the sum of row r of x, read only for a weight with offsets and one scale for each row. ACT: the
// activation, or -1 for the one that `a` names.
template <int D, int ACT, class XSum>
static void finish_rows(const LinearArgs& a, int64_t pa, int64_t pb, int64_t row, int64_t rows, const float* sums,
                        const XSum& x_sum) {
    const Weight& w = *a.w;
    typedef typename Float<D>::T T;
    const bool by_row = w.group > 0 && w.group == w.k;  // one scale for each row of w
    const bool gated = a.gated, scaled = a.alpha != 1.0f;
    const int act = ACT >= 0 ? ACT : a.act;
    const int64_t half = w.n / 2, column = pa * PANEL, width = gated ? half : w.n;
    int count = gated ? PANEL : GROUP;
    if (width - column < count) count = (int)(width - column);
    const float *bias = a.bias ? a.bias + column : nullptr, *up_bias = a.bias ? a.bias + half + column : nullptr;
    for (int64_t r = 0; r < rows; r++, sums += GROUP) {
        T* out = (T*)a.out + (row + r) * a.out_stride + column;
        const T* residual = a.residual ? (const T*)a.residual + (row + r) * a.residual_stride + column : nullptr;
        for (int c = 0; c < count; c += W) {
            const int n = count - c < W ? count - c : W;
            VF v = load(sums + c);
            if (by_row) v = scaled_by_row(w, v, c < PANEL ? pa : pb, c % PANEL, x_sum(r));
            if (bias) v = v + (n == W ? load(bias + c) : load_part<F32>(bias + c, n));
            v = activate(v, act);
            if (gated) {
                VF up = load(sums + PANEL + c);
                if (by_row) up = scaled_by_row(w, up, pb, c, x_sum(r));
                if (bias) up = up + load(up_bias + c);
                v = v * up;
            }
            if (scaled) v = v * splat(a.alpha);
            if (residual) v = v + (n == W ? Float<D>::load(residual + c) : load_part<D>(residual + c, n));
            if (n == W) Float<D>::store(out + c, v);
            else store_part<D>(out + c, v, n);
        }
    }
}

// The same, with the activations of large models compiled apart.
template <int D, class XSum>
static void finish_as(const LinearArgs& a, int64_t pa, int64_t pb, int64_t row, int64_t rows, const float* sums,
                      const XSum& x_sum) {
    if (a.act == ACT_NONE) finish_rows<D, ACT_NONE>(a, pa, pb, row, rows, sums, x_sum);
    else if (a.act == ACT_SILU) finish_rows<D, ACT_SILU>(a, pa, pb, row, rows, sums, x_sum);
    else if (a.act == ACT_GELU) finish_rows<D, ACT_GELU>(a, pa, pb, row, rows, sums, x_sum);
    else finish_rows<D, -1>(a, pa, pb, row, rows, sums, x_sum);
}
template <class XSum>
static void finish(const LinearArgs& a, int64_t pa, int64_t pb, int64_t row, int64_t rows, const float* sums,
                   const XSum& x_sum) {
    const int dtype = a.out_dtype;
    WEFT_BY_DTYPE(dtype, finish_as<D>(a, pa, pb, row, rows, sums, x_sum))
}

// ---- the whole product ----------------------------------------------------------------------------------------------

WEFT_INLINE int64_t column_groups(const LinearArgs& a) {
    return a.gated ? a.w->n / 2 / PANEL : (a.w->n + GROUP - 1) / GROUP;
}

// The two panels of column group j.
WEFT_INLINE int64_t first_panel(const LinearArgs& a, int64_t j) { return a.gated ? j : 2 * j; }
WEFT_INLINE int64_t second_panel(const LinearArgs& a, int64_t j) {
    return a.gated ? j + a.w->n / 2 / PANEL : 2 * j + 1;
}

#if defined(WEFT_AMX)
// Computes rows [r0, r0 + rows) of column group j of a dense bfloat16 weight by AMX tiles. 32 rows are finished at a time,
// so their sums stay in the first-level cache, and the vector units finish rows while the tiles multiply the next ones.
static void tiles_task(const LinearArgs& a, const uint16_t* const* x, int64_t j, int64_t r0, int64_t rows) {
    const Weight& w = *a.w;
    const int64_t pa = first_panel(a, j), pb = second_panel(a, j), size = panel_bytes(w);
    const uint8_t *panel_a = (const uint8_t*)w.data + pa * size, *panel_b = (const uint8_t*)w.data + pb * size;
    alignas(64) float sums[32 * GROUP];
    for (int64_t r = r0; r < r0 + rows; r += 32) {
        const int64_t count = r0 + rows - r < 32 ? r0 + rows - r : 32;
        for (int64_t k0 = 0; k0 < w.k; k0 += DENSE_CHUNK) {
            const int64_t k1 = k0 + DENSE_CHUNK < w.k ? k0 + DENSE_CHUNK : w.k, skip = k0 * PANEL * 2;
            tiles_rows(x + r, count, panel_a + skip, panel_b + skip, k0, k1, sums, k0 == 0);
        }
        finish(a, pa, pb, r, count, sums, [](int64_t) -> const float* { return nullptr; });
    }
}
#endif

// Computes rows [r0, r0 + rows) of column group j; at most ROW_BLOCK rows.
template <class T>
static void linear_task(const LinearArgs& a, const T* const* x, const float* const* x_sums, int64_t j, int64_t r0,
                        int64_t rows) {
    const Weight& w = *a.w;
#if defined(WEFT_AMX)
    if constexpr (sizeof(T) == 2)
        if (w.kind == W_BF16 && w.k % 32 == 0) return tiles_task(a, x, j, r0, rows);
#endif
    int64_t pa = first_panel(a, j), pb = second_panel(a, j);
    alignas(64) float sums[ROW_BLOCK * GROUP];
    multiply(w, pa, pb, x + r0, x_sums ? x_sums + r0 : nullptr, rows, sums);
    finish(a, pa, pb, r0, rows, sums, [&](int64_t r) -> const float* {
        if constexpr (sizeof(T) == 1) return ByteRow(x[r0 + r], w).total;
        else return x_sums ? x_sums[r0 + r] + sum_blocks(w) : nullptr;
    });
}

// Rows of x that all column groups are multiplied by before the next ones, so that the second-level cache keeps them:
// tiles are faster than the cache behind that. Without tiles there is time to read all rows again for each column group.
WEFT_INLINE int64_t rows_kept(const LinearArgs& a) {
#if defined(WEFT_AMX)
    constexpr int64_t KEPT_BYTES = 800 * 1024, MOST_BYTES = 1280 * 1024;  // of a second-level cache of 2 MiB
    const int64_t bytes = 2 * a.w->k;                                     // of a row
    if (a.m * bytes > MOST_BYTES)
        return KEPT_BYTES / bytes < ROW_BLOCK ? ROW_BLOCK : KEPT_BYTES / bytes / ROW_BLOCK * ROW_BLOCK;
#endif
    return a.m < ROW_BLOCK ? ROW_BLOCK : (a.m + ROW_BLOCK - 1) / ROW_BLOCK * ROW_BLOCK;
}

// Calls task(j, r0, rows) for all column groups and blocks of rows.
template <class Task> static void for_tasks(const LinearArgs& a, const Task& task) {
    const int64_t groups = column_groups(a), kept = rows_kept(a), parts = (a.m + kept - 1) / kept;
    parallel_groups(a.w->nodes, {parts, groups, kept / ROW_BLOCK}, [&](int64_t part, int64_t group, int64_t block) {
        const int64_t r0 = part * kept + block * ROW_BLOCK;
        if (r0 < a.m) task(group, r0, a.m - r0 < ROW_BLOCK ? a.m - r0 : ROW_BLOCK);
    });
}

template <class T>
static void run_linear(const LinearArgs& a, const T* const* x, const float* const* x_sums) {
    for_tasks(a, [&](int64_t j, int64_t r0, int64_t rows) { linear_task<T>(a, x, x_sums, j, r0, rows); });
}

// ---- the kernel -----------------------------------------------------------------------------------------------------

static void linear_in_integers(const LinearArgs& a);  // integer_product.h

static void linear(const LinearArgs& a) {
    if (a.w->kind == W_S8) return linear_in_integers(a);
    Rows rows(*a.w, a.x, a.x_dtype, a.m, a.x_stride);
    WEFT_BY_ROWS(rows, run_linear<T>(a, (const T* const*)rows.x, rows.sums))
}

}  // namespace WEFT_NS
