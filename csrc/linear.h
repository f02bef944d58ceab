// x @ w.T for packed weights of every kind, with bias, activation, gate and residual in the same pass (the epilogue).
//
// A task computes one column group: 64 rows of w, that is 64 columns of the result. For few rows of x, codes (quantized
// values) are unpacked and multiplied in registers. For more rows, they are unpacked once, in chunks of columns, into a
// buffer that stays in the first-level cache, and tiles of up to TILE_ROWS rows of x are multiplied by it; dense
// weights are read where they lie. An output element is summed column by column, in chunks whose borders depend on the
// weight alone: never on the number of rows, their order, or the thread.
#pragma once

#include <stdlib.h>

#include "kernels.h"
#include "parallel.h"
#include "product_tiles.h"
#include "simd.h"

#if defined(WEFT_AMX)
#include "tiles.h"
#endif

namespace WEFT_NS {

constexpr int ROW_BLOCK = 192;     // rows of x whose sums are held at once
constexpr int CHUNK_BYTES = 8192;  // bytes of a panel unpacked at once: two fit the L1 cache with x
constexpr int MOST_COLUMNS = 256;  // most columns unpacked at once: the largest group with one scale
constexpr int DENSE_CHUNK = 2048;  // columns multiplied before sums are stored, without a buffer

// ---- one column group, all rows -------------------------------------------------------------------------------------

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

// Multiplies rows of x by a column group, panels pa and pb of w: sums [rows][64]. x: pointers to rows [k]. x_sums: the
// rows' sums over each group of columns, null for a weight without offsets.
template <class T>
static void multiply(const Weight& w, int64_t pa, int64_t pb, const T* const* x, const float* const* x_sums,
                     int64_t rows, float* sums) {
    constexpr bool as_pairs = sizeof(T) == 2;
    constexpr int unpacked = as_pairs ? W_BF16 : W_F32, column = PANEL * (int)sizeof(T);  // bytes of a column
    const bool direct = w.kind == unpacked, scaled = w.group > 0 && w.group < w.k;
#if defined(WEFT_AMX)
    const bool by_tiles = as_pairs && (scaled ? w.group : w.k) % 32 == 0;
#else
    constexpr bool by_tiles = false;
#endif
    const bool in_registers = rows <= PACKED_ROWS && !by_tiles && !direct;
    const int64_t columns = direct || in_registers ? DENSE_CHUNK : CHUNK_BYTES / column;
    const int64_t groups = !scaled || w.group > columns      ? 1
                           : columns / w.group < MOST_GROUPS ? columns / w.group
                                                             : MOST_GROUPS;
    const int64_t step = scaled ? groups * w.group : columns;
    alignas(64) uint8_t buffer[2][MOST_COLUMNS * column];
    Scales scales;
    const uint8_t *panel_a = (const uint8_t*)w.data + pa * panel_bytes(w),
                  *panel_b = (const uint8_t*)w.data + pb * panel_bytes(w);
    const int64_t following = panels_on(pa, pb) * panel_bytes(w);  // bytes to the next column group
    const int most = scaled ? SCALED_ROWS : TILE_ROWS;
    for (int64_t k0 = 0; k0 < w.k; k0 += step) {
        Chunk chunk = {buffer[0], buffer[1], k0, k0 + step < w.k ? k0 + step : w.k, unpacked, w.zero, w.numbers,
                       nullptr,   w.group,   0};
        if (direct || in_registers) {
            int64_t skip = k0 * (panel_bytes(w) / w.k);
            chunk.a = panel_a + skip, chunk.b = panel_b + skip, chunk.kind = w.kind;
            chunk.next = in_registers ? following : 0;
        } else if constexpr (as_pairs) {
#if defined(__AVX512BF16__)
            unpack_pairs(w, panel_a, k0, chunk.k1, (uint16_t*)buffer[0], following);
            unpack_pairs(w, panel_b, k0, chunk.k1, (uint16_t*)buffer[1], following);
#endif
        } else {
            unpack_floats(w, panel_a, k0, chunk.k1, (float*)buffer[0], following);
            unpack_floats(w, panel_b, k0, chunk.k1, (float*)buffer[1], following);
        }
        if (scaled) {
            scales.load(w, pa, pb, k0 / w.group, (chunk.k1 - k0) / w.group);
            chunk.scales = &scales;
        }
        const bool fresh = k0 == 0;
#if defined(WEFT_AMX)
        if constexpr (as_pairs)
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

// The epilogue of one row of x and one column group: scales, bias, activation, gate, alpha and residual, into out.
// sums: [64]. x_sum: the sum of the row of x, read only for a weight with offsets and one scale for each row.
template <int D>
static void finish_row(const LinearArgs& a, int64_t pa, int64_t pb, int64_t row, const float* sums,
                       const float* x_sum) {
    const Weight& w = *a.w;
    typedef typename Float<D>::T T;
    bool by_row = w.group > 0 && w.group == w.k;  // one scale for each row of w
    int64_t half = w.n / 2, column = pa * PANEL, width = a.gated ? half : w.n;
    int count = a.gated ? PANEL : GROUP;
    if (width - column < count) count = (int)(width - column);
    T* out = (T*)a.out + row * a.out_stride + column;
    const T* residual = a.residual ? (const T*)a.residual + row * a.residual_stride + column : nullptr;
    for (int c = 0; c < count; c += W) {
        int n = count - c < W ? count - c : W;
        VF v = load(sums + c);
        if (by_row) v = scaled_by_row(w, v, c < PANEL ? pa : pb, c % PANEL, x_sum);
        if (a.bias) v = v + (n == W ? load(a.bias + column + c) : load_part<F32>(a.bias + column + c, n));
        v = activate(v, a.act);
        if (a.gated) {
            VF up = load(sums + PANEL + c);
            if (by_row) up = scaled_by_row(w, up, pb, c, x_sum);
            if (a.bias) up = up + load(a.bias + half + column + c);
            v = v * up;
        }
        if (a.alpha != 1.0f) v = v * splat(a.alpha);
        if (residual) v = v + (n == W ? Float<D>::load(residual + c) : load_part<D>(residual + c, n));
        if (n == W) Float<D>::store(out + c, v);
        else store_part<D>(out + c, v, n);
    }
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

// Computes rows [r0, r0 + rows) of column group j; at most ROW_BLOCK rows.
template <class T>
static void linear_task(const LinearArgs& a, const T* const* x, const float* const* x_sums, int64_t j, int64_t r0,
                        int64_t rows) {
    const Weight& w = *a.w;
    int64_t pa = first_panel(a, j), pb = second_panel(a, j);
    alignas(64) float sums[ROW_BLOCK * GROUP];
    multiply<T>(w, pa, pb, x + r0, x_sums ? x_sums + r0 : nullptr, rows, sums);
    for (int64_t r = 0; r < rows; r++) {
        const float* x_sum = x_sums ? x_sums[r0 + r] : nullptr;
        WEFT_BY_DTYPE(a.out_dtype, finish_row<D>(a, pa, pb, r0 + r, sums + r * GROUP, x_sum))
    }
}

// Calls task(j, r0, rows) for all column groups and blocks of rows.
template <class Task> static void for_tasks(const LinearArgs& a, const Task& task) {
    int64_t groups = column_groups(a), blocks = (a.m + ROW_BLOCK - 1) / ROW_BLOCK;
    parallel_groups(a.w->nodes, {1, groups, blocks}, [&](int64_t, int64_t group, int64_t block) {
        int64_t r0 = block * ROW_BLOCK;
        task(group, r0, a.m - r0 < ROW_BLOCK ? a.m - r0 : ROW_BLOCK);
    });
}

template <class T>
static void run_linear(const LinearArgs& a, const T* const* x, const float* const* x_sums) {
    for_tasks(a, [&](int64_t j, int64_t r0, int64_t rows) { linear_task<T>(a, x, x_sums, j, r0, rows); });
}

// ---- rows of x as the tiles read them -------------------------------------------------------------------------------

// A row of x as floats (widen_row), and its sum over each group of columns, which offsets are multiplied by
// (sum_groups).
template <int D>
static void widen_row(const typename Float<D>::T* x, int64_t k, float* out) {
    int64_t i = 0;
    for (; i + W <= k; i += W) store(out + i, Float<D>::load(x + i));
    for (; i < k; i++) out[i] = Float<D>::get(x[i]);
}
template <int D>
static void sum_groups(const typename Float<D>::T* x, int64_t k, int64_t group, float* out) {
    for (int64_t g = 0; g < k / group; g++) {
        VF sum = zero();
        int64_t i = g * group, end = i + group;
        for (; i + W <= end; i += W) sum = sum + Float<D>::load(x + i);
        float total = hsum(sum);
        for (; i < end; i++) total += Float<D>::get(x[i]);
        out[g] = total;
    }
}

// Pointers to the rows of x: to x itself where the level multiplies its type (float32, or bfloat16 with bfloat16
// products), else to float32 copies.
struct Rows {
    void* memory;
    const void** x;
    const float** sums;  // each row's sums over the groups of columns; null for a weight without offsets
    bool pairs;          // bfloat16 rows; else floats

    Rows(const Weight& w, const void* data, int dtype, int64_t count, int64_t stride) {
        pairs = BF16_PRODUCTS && dtype == BF16 && w.kind != W_F32 && w.kind != W_F16;
        bool widen = !pairs && dtype != F32;
        int64_t groups = w.offsets ? w.k / w.group : 0, size = dtype == F32 ? 4 : 2;
        size_t pointers = sizeof(void*) * 2 * count, floats = sizeof(float) * count * ((widen ? w.k : 0) + groups);
        memory = aligned_alloc(64, (pointers + floats + 127) / 64 * 64);
        x = (const void**)memory;
        sums = groups ? (const float**)(x + count) : nullptr;
        float* wide = (float*)((char*)memory + (pointers + 63) / 64 * 64);
        float* group_sums = wide + (widen ? count * w.k : 0);
        parallel_for(count, widen || groups ? 8 : count + 1, [&](int64_t r) {
            const char* row = (const char*)data + r * stride * size;
            x[r] = row;
            if (groups) {
                sums[r] = group_sums + r * groups;
                WEFT_BY_DTYPE(dtype,
                              sum_groups<D>((const typename Float<D>::T*)row, w.k, w.group, group_sums + r * groups))
            }
            if (widen) {
                WEFT_BY_DTYPE(dtype, widen_row<D>((const typename Float<D>::T*)row, w.k, wide + r * w.k))
                x[r] = wide + r * w.k;
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

static void linear_in_integers(const LinearArgs& a);  // integer_product.h

static void linear(const LinearArgs& a) {
    if (a.w->kind == W_S8) return linear_in_integers(a);
    Rows rows(*a.w, a.x, a.x_dtype, a.m, a.x_stride);
    WEFT_BY_ROWS(rows, run_linear<T>(a, (const T* const*)rows.x, rows.sums))
}

}  // namespace WEFT_NS
