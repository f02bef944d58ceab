// x @ w.T for packed weights of every kind, with bias, activation, gate and residual in the same pass.
//
// One column group (64 rows of w) at a time: its codes are unpacked in chunks of columns into floats that stay in the
// first cache (dense kinds are used as they lie), tiles of up to MR rows of x are multiplied with them, sums stay in a
// small buffer until the epilogue writes the result. The sum of an output element is formed column by column, in chunks
// whose borders depend on the weight alone: never on the number of rows, their order, or the thread.
#pragma once

#include <stdlib.h>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

#if defined(WEFT_AMX)
#include "tiles.h"
#endif

namespace WEFT_NS {

constexpr int PANEL = 32, GROUP = 64;
constexpr int ROW_BLOCK = 192;                    // rows of x whose sums are held at once
constexpr int TILE_ROWS = WEFT_LANES == 16 ? 6 : 4;
#if defined(WEFT_AMX)
constexpr int SCALED_ROWS = 32;                   // rows of x that go through one group of columns together
#else
constexpr int SCALED_ROWS = TILE_ROWS;
#endif
constexpr int CHUNK = 256;                        // columns unpacked at once
constexpr int DENSE_CHUNK = 2048;                 // columns of dense weights between two visits of the sums

// The columns [k0, k1) of a column group, ready to multiply: `a` and `b` are its two panels.
struct Chunk {
    const uint8_t *a, *b;
    int64_t k0, k1;
};

// ---- scales ---------------------------------------------------------------------------------------------------------

// W scales (or offsets) of panel p, group g, from column c on.
WEFT_INLINE VF load_scale(const Weight& w, const void* values, const uint16_t* super, int64_t p, int64_t g, int c) {
    int64_t groups = w.k / w.group, at = (p * groups + g) * PANEL + c;
    switch (w.scale_kind) {
        case S_F32: return load((const float*)values + at);
        case S_F16: return load_f16((const uint16_t*)values + at);
        default: {
            int64_t n = groups / w.groups_per_super, s = (p * n + g / w.groups_per_super) * PANEL + c;
            VB bytes;
            memcpy(&bytes, (const uint8_t*)values + at, sizeof bytes);
            VF v;
            if (w.scale_kind == S_U8) v = __builtin_convertvector(__builtin_convertvector(bytes, VI), VF);
            else v = __builtin_convertvector((__builtin_convertvector(bytes, VI) << 24) >> 24, VF);
            return v * load_f16(super + s);
        }
    }
}

// ---- unpacking ------------------------------------------------------------------------------------------------------

WEFT_INLINE int64_t panel_bytes(const Weight& w) {
    int64_t units = w.kind == W_F32 ? 4 * w.k : w.kind == W_Q4 ? w.k / 2 : w.kind == W_Q8 ? w.k : 2 * w.k;
    return units * PANEL;
}

// Columns [k0, k1) of panel p as floats [k1 - k0][32].
static void unpack_floats(const Weight& w, int64_t p, int64_t k0, int64_t k1, float* out) {
    const uint8_t* data = (const uint8_t*)w.data + p * panel_bytes(w);
    for (int64_t s = k0 / 2; s < k1 / 2; s++, out += 2 * PANEL) {
        for (int c = 0; c < PANEL; c += W) {
            VF first, second;
            if (w.kind == W_Q4) {
                VB b;
                memcpy(&b, data + s * PANEL + c, sizeof b);
                VI i = __builtin_convertvector(b, VI);
                first = __builtin_convertvector((i & 15) - w.zero, VF);
                second = __builtin_convertvector((i >> 4) - w.zero, VF);
            } else if (w.kind == W_Q8) {
                VH h;
                memcpy(&h, data + 2 * (s * PANEL + c), sizeof h);
                VI i = __builtin_convertvector(h, VI);
                first = __builtin_convertvector((i & 255) - w.zero, VF);
                second = __builtin_convertvector((i >> 8) - w.zero, VF);
            } else {
                VU u;
                memcpy(&u, data + 4 * (s * PANEL + c), sizeof u);
                if (w.kind == W_BF16) {
                    first = (VF)(u << 16);
                    second = (VF)(u & 0xffff0000u);
                } else {
                    VH lo = __builtin_convertvector(u & 0xffffu, VH), hi = __builtin_convertvector(u >> 16, VH);
                    first = load_f16((const uint16_t*)&lo);
                    second = load_f16((const uint16_t*)&hi);
                }
            }
            store(out + c, first);
            store(out + PANEL + c, second);
        }
    }
}

#if defined(__AVX512BF16__)
// Columns [k0, k1) of panel p as pairs of bfloat16 [(k1 - k0) / 2][32][2]. Codes of up to 8 bit are exact in bfloat16.
static void unpack_pairs(const Weight& w, int64_t p, int64_t k0, int64_t k1, uint16_t* out) {
    const uint8_t* data = (const uint8_t*)w.data + p * panel_bytes(w);
    if (w.kind == W_Q4) {
        uint16_t values[32];
        for (int i = 0; i < 32; i++) values[i] = float_to_bf16((float)((i & 15) - w.zero));
        __m512i table = _mm512_loadu_si512(values);
        for (int64_t s = k0 / 2; s < k1 / 2; s++, out += 2 * PANEL)
            for (int c = 0; c < PANEL; c += 16) {
                __m512i b = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(data + s * PANEL + c)));
                __m512i index = _mm512_or_si512(b, _mm512_slli_epi32(b, 12));   // bit 4 of an index changes nothing
                _mm512_storeu_si512(out + 2 * c, _mm512_permutexvar_epi16(index, table));
            }
        return;
    }
    __m512i zero = _mm512_set1_epi32(w.zero), high = _mm512_set1_epi32((int)0xffff0000u);
    for (int64_t s = k0 / 2; s < k1 / 2; s++, out += 2 * PANEL)
        for (int c = 0; c < PANEL; c += 16) {
            __m512i h = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(data + 2 * (s * PANEL + c))));
            __m512i first = _mm512_sub_epi32(_mm512_and_si512(h, _mm512_set1_epi32(255)), zero);
            __m512i second = _mm512_sub_epi32(_mm512_srli_epi32(h, 8), zero);
            __m512i lo = _mm512_castps_si512(_mm512_cvtepi32_ps(first)), hi = _mm512_castps_si512(_mm512_cvtepi32_ps(second));
            _mm512_storeu_si512(out + 2 * c, _mm512_or_si512(_mm512_srli_epi32(lo, 16), _mm512_and_si512(hi, high)));
        }
}
#endif

// ---- tiles: MR rows of x times a chunk, added to sums [MR][64] ------------------------------------------------------

// Floats: NV vectors of one panel.
template <int MR, int NV>
WEFT_INLINE void tile_floats(const float* const* x, const float* w, int64_t steps, float* sums, bool fresh) {
    VF acc[MR][NV];
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < NV; v++) acc[r][v] = fresh ? zero() : load(sums + r * GROUP + v * W);
    for (int64_t s = 0; s < steps; s++) {
        VF b[NV];
        for (int v = 0; v < NV; v++) b[v] = load(w + s * PANEL + v * W);
        for (int r = 0; r < MR; r++) {
            VF a = splat(x[r][s]);
            for (int v = 0; v < NV; v++) acc[r][v] = fma(a, b[v], acc[r][v]);
        }
    }
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < NV; v++) store(sums + r * GROUP + v * W, acc[r][v]);
}

template <int MR>
static void rows_floats(const float* const* x, const Chunk& chunk, float* sums, bool fresh) {
    constexpr int NV = 2;
    const float* xs[MR];
    for (int r = 0; r < MR; r++) xs[r] = x[r] + chunk.k0;
    for (int half = 0; half < 2; half++)
        for (int c = 0; c < PANEL; c += NV * W)
            tile_floats<MR, NV>(xs, (const float*)(half ? chunk.b : chunk.a) + c, chunk.k1 - chunk.k0,
                                sums + half * PANEL + c, fresh);
}

#if defined(__AVX512BF16__)
// Pairs of bfloat16: two vectors of each panel.
template <int MR>
static void rows_pairs(const uint16_t* const* x, const Chunk& chunk, float* sums, bool fresh) {
    __m512 acc[MR][4];
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < 4; v++) acc[r][v] = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + r * GROUP + v * 16);
    const uint32_t* xs[MR];
    for (int r = 0; r < MR; r++) xs[r] = (const uint32_t*)(x[r] + chunk.k0);
    int64_t steps = (chunk.k1 - chunk.k0) / 2;
    const uint8_t *a = chunk.a, *b = chunk.b;
#pragma GCC unroll 2
    for (int64_t s = 0; s < steps; s++) {
        __m512bh w[4];
        w[0] = (__m512bh)_mm512_loadu_si512(a + s * 128);
        w[1] = (__m512bh)_mm512_loadu_si512(a + s * 128 + 64);
        w[2] = (__m512bh)_mm512_loadu_si512(b + s * 128);
        w[3] = (__m512bh)_mm512_loadu_si512(b + s * 128 + 64);
        if (MR <= 2) {
            __builtin_prefetch(a + s * 128 + 4096);
            __builtin_prefetch(a + s * 128 + 4160);
            __builtin_prefetch(b + s * 128 + 4096);
            __builtin_prefetch(b + s * 128 + 4160);
        }
        for (int r = 0; r < MR; r++) {
            uint32_t pair;
            memcpy(&pair, xs[r] + s, 4);
            __m512bh v = (__m512bh)_mm512_set1_epi32((int)pair);
            for (int i = 0; i < 4; i++) acc[r][i] = _mm512_dpbf16_ps(acc[r][i], v, w[i]);
        }
    }
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < 4; v++) _mm512_storeu_ps(sums + r * GROUP + v * 16, acc[r][v]);
}
#endif

// One tile of `rows` rows of x (float rows, or bfloat16 rows where the level multiplies those) over a chunk.
template <class T>
static void tile(const T* const* x, int rows, const Chunk& chunk, float* sums, bool fresh);

#define WEFT_TILE_CASES(f)                       \
    switch (rows) {                              \
        case 1: f<1>(x, chunk, sums, fresh); break; \
        case 2: f<2>(x, chunk, sums, fresh); break; \
        case 3: f<3>(x, chunk, sums, fresh); break; \
        case 4: f<4>(x, chunk, sums, fresh); break; \
        case 5: f<5>(x, chunk, sums, fresh); break; \
        default: f<6>(x, chunk, sums, fresh); break; \
    }
template <> void tile(const float* const* x, int rows, const Chunk& chunk, float* sums, bool fresh) {
    WEFT_TILE_CASES(rows_floats)
}
#if defined(__AVX512BF16__)
template <> void tile(const uint16_t* const* x, int rows, const Chunk& chunk, float* sums, bool fresh) {
    WEFT_TILE_CASES(rows_pairs)
}
#endif

// ---- one column group, all rows -------------------------------------------------------------------------------------

// Sums of the columns' products with a weight that has a scale for each `group` columns: each group's own sum is formed
// first, then scaled and added; the offsets multiply the group's sum of x.
template <class T>
static void scaled_rows(const Weight& w, const T* const* x, const float* const* x_sums, int rows, const Chunk& chunk,
                        int64_t pa, int64_t pb, float* sums) {
    alignas(64) float part[SCALED_ROWS * GROUP];
    constexpr int unit = sizeof(T) == 2 ? 2 * PANEL : 4 * PANEL;        // bytes of a column of a panel
    for (int64_t k = chunk.k0; k < chunk.k1; k += w.group) {
        int64_t g = k / w.group, skip = (k - chunk.k0) * unit;
        Chunk columns = {chunk.a + skip, chunk.b + skip, k, k + w.group};
#if defined(WEFT_AMX)
        if (sizeof(T) == 2 && w.group % 32 == 0)
            tiles_rows((const uint16_t* const*)x, rows, columns.a, columns.b, columns.k0, columns.k1, part, true);
        else
#endif
        for (int r = 0; r < rows; r += TILE_ROWS)
            tile<T>(x + r, rows - r < TILE_ROWS ? rows - r : TILE_ROWS, columns, part + r * GROUP, true);
        for (int c = 0; c < GROUP; c += W) {
            int64_t p = c < PANEL ? pa : pb;
            VF scale = load_scale(w, w.scales, w.super_scales, p, g, c % PANEL);
            VF offset = w.offsets ? load_scale(w, w.offsets, w.super_offsets, p, g, c % PANEL) : zero();
            for (int r = 0; r < rows; r++) {
                float* sum = sums + r * GROUP + c;
                VF v = fma(load(part + r * GROUP + c), scale, load(sum));
                if (w.offsets) v = fma(splat(x_sums[r][g]), offset, v);
                store(sum, v);
            }
        }
    }
}

// Adds rows' products with the columns of one group to sums [rows][64]. x: pointers to rows.
template <class T>
static void multiply(const Weight& w, int64_t pa, int64_t pb, const T* const* x, const float* const* x_sums, int64_t rows,
                     float* sums) {
    bool as_pairs = sizeof(T) == 2, direct = (as_pairs && w.kind == W_BF16) || (!as_pairs && w.kind == W_F32);
    bool scaled = w.group > 0 && w.group < w.k;
    alignas(64) uint8_t buffer[2][CHUNK * PANEL * sizeof(T)];
    int64_t step = direct ? DENSE_CHUNK : scaled ? CHUNK / w.group * w.group : CHUNK;
    if (scaled) memset(sums, 0, sizeof(float) * GROUP * rows);
    for (int64_t k0 = 0; k0 < w.k; k0 += step) {
        Chunk chunk = {buffer[0], buffer[1], k0, k0 + step < w.k ? k0 + step : w.k};
        if (direct) {
            chunk.a = (const uint8_t*)w.data + pa * panel_bytes(w) + k0 * PANEL * (int64_t)sizeof(T);
            chunk.b = (const uint8_t*)w.data + pb * panel_bytes(w) + k0 * PANEL * (int64_t)sizeof(T);
        } else {
#if defined(__AVX512BF16__)
            if (as_pairs) {
                unpack_pairs(w, pa, k0, chunk.k1, (uint16_t*)buffer[0]);
                unpack_pairs(w, pb, k0, chunk.k1, (uint16_t*)buffer[1]);
            } else
#endif
            {
                unpack_floats(w, pa, k0, chunk.k1, (float*)buffer[0]);
                unpack_floats(w, pb, k0, chunk.k1, (float*)buffer[1]);
            }
        }
#if defined(WEFT_AMX)
        if (as_pairs && !scaled && w.k % 32 == 0) {
            tiles_rows((const uint16_t* const*)x, rows, chunk.a, chunk.b, k0, chunk.k1, sums, k0 == 0);
            continue;
        }
#endif
        int most = scaled ? SCALED_ROWS : TILE_ROWS;
        for (int64_t r = 0; r < rows; r += most) {
            int count = rows - r < most ? (int)(rows - r) : most;
            if (scaled) scaled_rows<T>(w, x + r, x_sums ? x_sums + r : nullptr, count, chunk, pa, pb, sums + r * GROUP);
            else tile<T>(x + r, count, chunk, sums + r * GROUP, k0 == 0);
        }
    }
}

// ---- the end of a row -----------------------------------------------------------------------------------------------

template <int D>
static void finish_row(const LinearArgs& a, int64_t pa, int64_t pb, int64_t row, const float* sums) {
    const Weight& w = *a.w;
    typedef typename Float<D>::T T;
    bool by_row = w.group > 0 && w.group == w.k;                       // one scale for each output
    int64_t half = w.n / 2, column = pa * PANEL, width = a.gated ? half : w.n;
    int count = a.gated ? PANEL : GROUP;
    if (width - column < count) count = (int)(width - column);
    T* out = (T*)a.out + row * a.out_stride + column;
    const T* residual = a.residual ? (const T*)a.residual + row * a.residual_stride + column : nullptr;
    for (int c = 0; c < count; c += W) {
        int n = count - c < W ? count - c : W;
        VF v = load(sums + c);
        if (by_row) v = v * load_scale(w, w.scales, w.super_scales, c < PANEL ? pa : pb, 0, c % PANEL);
        if (a.bias) v = v + (n == W ? load(a.bias + column + c) : load_part<F32>(a.bias + column + c, n));
        v = activate(v, a.act);
        if (a.gated) {
            VF up = load(sums + PANEL + c);
            if (by_row) up = up * load_scale(w, w.scales, w.super_scales, pb, 0, c);
            if (a.bias) up = up + load(a.bias + half + column + c);
            v = v * up;
        }
        if (a.alpha != 1.0f) v = v * splat(a.alpha);
        if (residual) v = v + (n == W ? Float<D>::load(residual + c) : load_part<D>(residual + c, n));
        if (n == W) Float<D>::store(out + c, v);
        else store_part<D>(out + c, v, n);
    }
}

// ---- the whole ------------------------------------------------------------------------------------------------------

WEFT_INLINE int64_t column_groups(const LinearArgs& a) {
    return a.gated ? a.w->n / 2 / PANEL : (a.w->n + GROUP - 1) / GROUP;
}

// Rows [r0, r0 + rows) of column group j: at most ROW_BLOCK rows.
template <class T>
static void linear_task(const LinearArgs& a, const T* const* x, const float* const* x_sums, int64_t j, int64_t r0,
                        int64_t rows) {
    const Weight& w = *a.w;
    int64_t pa = a.gated ? j : 2 * j, pb = a.gated ? j + w.n / 2 / PANEL : 2 * j + 1;
    alignas(64) float sums[ROW_BLOCK * GROUP];
    multiply<T>(w, pa, pb, x + r0, x_sums ? x_sums + r0 : nullptr, rows, sums);
    for (int64_t r = 0; r < rows; r++) {
        WEFT_BY_DTYPE(a.out_dtype, finish_row<D>(a, pa, pb, r0 + r, sums + r * GROUP))
    }
}

template <class T>
static void run_linear(const LinearArgs& a, const T* const* x, const float* const* x_sums) {
    int64_t groups = column_groups(a), blocks = (a.m + ROW_BLOCK - 1) / ROW_BLOCK;
    int64_t grain = a.m >= 16 ? 1 : groups / (8 * num_threads()) + 1;
    parallel_for(groups * blocks, grain, [&](int64_t task) {
        int64_t r0 = task % blocks * ROW_BLOCK;
        linear_task<T>(a, x, x_sums, task / blocks, r0, a.m - r0 < ROW_BLOCK ? a.m - r0 : ROW_BLOCK);
    });
}

// ---- rows of x as the tiles read them -------------------------------------------------------------------------------

// x as floats, and the sum of each group's columns where offsets need it.
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

// Pointers to rows as they are (bfloat16 that the level multiplies, float32) or as floats made of them, and where a
// weight has offsets the sums of their groups.
struct Rows {
    void* memory;
    const void** x;
    const float** sums;         // null without offsets
    bool pairs;                 // bfloat16 rows; else floats

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
                WEFT_BY_DTYPE(dtype, sum_groups<D>((const typename Float<D>::T*)row, w.k, w.group, group_sums + r * groups))
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

// f<T>(...) for rows of T.
#if defined(__AVX512BF16__)
#define WEFT_BY_ROWS(rows, call)                                                                                       \
    if ((rows).pairs) { typedef uint16_t T; call; }                                                                    \
    else { typedef float T; call; }
#else
#define WEFT_BY_ROWS(rows, call) { typedef float T; call; }
#endif

static void linear(const LinearArgs& a) {
    Rows rows(*a.w, a.x, a.x_dtype, a.m, a.x_stride);
    WEFT_BY_ROWS(rows, run_linear<T>(a, (const T* const*)rows.x, rows.sums))
}

}  // namespace WEFT_NS
