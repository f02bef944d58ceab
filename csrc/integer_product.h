// x @ w.T in integers (w8a8): x in 8 bits with a scale for each row, times 8-bit weights with a scale for each output
// (W_S8).
//
// The scale of a row of x is its largest magnitude / 127, found in the call (dynamic quantization). Its codes
// (quantized values) are x / scale, rounded to nearest, ties to even. Sums of codes are exact in 32 bits, so every
// order and every ISA level gives the same: k is at most 2^17 (weft/ops/linear/integers.py refuses more), and 2^17 *
// 127 * 128 < 2^31. A row with NaN or an infinity gets the scale NaN, and so NaN results.
#pragma once

#include "linear.h"
#include "rows.h"

namespace WEFT_NS {

constexpr int INTEGER_CHUNK = 4096;  // columns multiplied before the sums are stored

// ---- rows of x in 8 bits --------------------------------------------------------------------------------------------

// Codes of x in the form that a level multiplies: signed (AMX tiles, ARM's dot product); plus 128 (VNNI, which
// multiplies unsigned by signed bytes); else as 16-bit numbers, because sums of byte products would saturate, each four
// columns in the order 0, 2, 1, 3.
#if defined(WEFT_AMX) || defined(__ARM_FEATURE_DOTPROD)
typedef int8_t Code;
#elif defined(WEFT_VNNI)
#define WEFT_CODES_PLUS_128
typedef uint8_t Code;
#else
typedef int16_t Code;
#endif

WEFT_INLINE void store_codes(Code* out, VI codes) {
#if defined(WEFT_CODES_PLUS_128)
    codes = codes + 128;
#endif
#if defined(__AVX512F__) || defined(WEFT_CODES_PLUS_128) || defined(__ARM_FEATURE_DOTPROD)
    VB bytes = narrow_to_bytes((VU)codes);
    memcpy(out, &bytes, sizeof bytes);
#else
#if defined(__AVX2__)
    codes = (VI)_mm256_shuffle_epi32((__m256i)codes, 0xd8);
#else
    codes = VI{codes[0], codes[2], codes[1], codes[3]};
#endif
    VH halves = narrow((VU)codes);
    memcpy(out, &halves, sizeof halves);
#endif
}

// Writes the codes of a row of x to out, [k padded to a multiple of 64], and returns the row's scale.
template <int D> static float codes_of_row(const typename Float<D>::T* x, int64_t k, Code* out) {
    constexpr float TO_INTEGER = 12582912.0f;  // 1.5 * 2^23: the sum's mantissa holds the integer
    VF most = zero(), fault = zero();
    WEFT_FOR_ROW(k, i, count) {
        VF v = load_up_to<D>(x + i, count);
        most = vmax((VF)((VU)v & 0x7fffffffu), most);
        fault = fault + v * zero();  // NaN for NaN and infinities
    }
    memset(out, 0, sizeof(Code) * (size_t)integer_columns(k));
    if (hsum(fault) != 0.0f) return hsum(fault);
    const float scale = hmax(most) / 127.0f;
    const VF divisor = splat(scale == 0.0f ? 1.0f : scale), limit = splat(127.0f);
    WEFT_FOR_ROW(k, i, count) {
        VF v = vmax(vmin(load_up_to<D>(x + i, count) / divisor, limit), -limit);
        store_codes(out + i, (VI)((VU)(v + splat(TO_INTEGER)) - 0x4b400000u));
    }
    return scale;
}

// The codes and scales of all rows of x. The stride is no power of two, so rows of a tile lie in different cache sets.
struct IntegerRows {
    void* memory;
    Code* codes;  // rows `stride` codes apart
    float* scales;
    int64_t stride;

    explicit IntegerRows(const LinearArgs& a) : stride(integer_columns(a.w->k) + 64) {
        size_t bytes = sizeof(Code) * (size_t)(a.m * stride);
        memory = aligned_alloc(64, (bytes + sizeof(float) * a.m + 127) / 64 * 64);
        codes = (Code*)memory;
        scales = (float*)((char*)memory + bytes);
        int64_t size = a.x_dtype == F32 ? 4 : 2;
        parallel_for(a.m, 8, [&](int64_t r) {
            const char* row = (const char*)a.x + r * a.x_stride * size;
            WEFT_BY_DTYPE(a.x_dtype,
                          scales[r] = codes_of_row<D>((const typename Float<D>::T*)row, a.w->k, codes + r * stride))
        });
    }
    ~IntegerRows() { free(memory); }
    IntegerRows(const IntegerRows&) = delete;
};

// ---- sums in registers ----------------------------------------------------------------------------------------------

#if !defined(WEFT_AMX)

// W 32-bit words of a panel, each four columns of a row, in the form that `dot` multiplies.
struct Columns {
#if defined(WEFT_VNNI) || defined(__ARM_FEATURE_DOTPROD)
    VI words;
    explicit Columns(VI loaded) : words(loaded) {}
#else
    typedef int16_t VS __attribute__((vector_size(4 * WEFT_LANES)));
    VS even, odd;  // columns 0 and 2; 1 and 3
    explicit Columns(VI loaded) : even(((VS)loaded << 8) >> 8), odd((VS)loaded >> 8) {}
#endif
};

// sum + products of 16-bit pairs.
#if !defined(WEFT_VNNI) && !defined(__ARM_FEATURE_DOTPROD)
WEFT_INLINE VI dot_pairs(VI sum, Columns::VS w, VI x) {
#if defined(__AVX2__)
    return sum + (VI)_mm256_madd_epi16((__m256i)w, (__m256i)x);
#elif defined(__SSE2__)
    return sum + (VI)_mm_madd_epi16((__m128i)w, (__m128i)x);
#else
    VI pairs = (VI)w;
    return sum + ((pairs << 16) >> 16) * ((x << 16) >> 16) + (pairs >> 16) * (x >> 16);
#endif
}
#endif

// sum + four columns' products. x: four codes.
WEFT_INLINE VI dot(VI sum, const Columns& w, const Code* x) {
    int32_t first;
    memcpy(&first, x, 4);
#if defined(WEFT_VNNI)
    return WEFT_VNNI(sum, splat_word(&first), w.words);
#elif defined(__ARM_FEATURE_DOTPROD)
    return (VI)vdotq_s32((int32x4_t)sum, (int8x16_t)w.words, vreinterpretq_s8_s32(vdupq_n_s32(first)));
#else
    int32_t second;
    memcpy(&second, x + 2, 4);
    return dot_pairs(dot_pairs(sum, w.even, VI{} + first), w.odd, VI{} + second);
#endif
}

// MR rows times `columns` columns (a multiple of 64) of panels a and b, added to sums [MR][64]. ahead: memory to
// prefetch, a cache line at each four columns, or null.
template <int MR>
static void integer_rows_times(const Code* x, int64_t stride, const uint8_t* a, const uint8_t* b, int64_t columns,
                               int32_t* sums, bool fresh, [[maybe_unused]] const uint8_t* ahead) {
    constexpr int NV = W == 16 ? 4 : MR == 1 ? PANEL / W : 2;  // one row: memory is read in one go
    for (int c0 = 0; c0 < GROUP; c0 += NV * W) {
        VI acc[MR][NV];
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) {
                acc[r][v] = VI{};
                if (!fresh) memcpy(&acc[r][v], sums + r * GROUP + c0 + v * W, sizeof(VI));
            }
        const uint8_t* panels[NV];
        for (int v = 0; v < NV; v++) panels[v] = (c0 + v * W < PANEL ? a : b) + 4 * ((c0 + v * W) % PANEL);
#pragma GCC unroll 2
        for (int64_t k = 0; k < columns; k += 4) {
            if (MR > 2 && ahead) fetch(ahead + 16 * k);
            for (int v = 0; v < NV; v++) {
                VI words;
                memcpy(&words, panels[v] + 32 * k, sizeof words);
                const Columns w(words);
                for (int r = 0; r < MR; r++) acc[r][v] = dot(acc[r][v], w, x + r * stride + k);
            }
        }
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) memcpy(sums + r * GROUP + c0 + v * W, &acc[r][v], sizeof(VI));
    }
}

static void integer_tile(const Code* x, int64_t stride, int rows, const uint8_t* a, const uint8_t* b, int64_t columns,
                         int32_t* sums, bool fresh, const uint8_t* ahead) {
    WEFT_BY_ROW_COUNT(rows, TILE_ROWS, (integer_rows_times<MR>(x, stride, a, b, columns, sums, fresh, ahead)));
}
#endif

// ---- the whole product ----------------------------------------------------------------------------------------------

// Rows of codes, `stride` codes apart, times one column group, panels pa and pb: sums [rows][64].
static void multiply_integers(const Weight& w, int64_t pa, int64_t pb, const Code* x, int64_t stride, int64_t rows,
                              int32_t* sums) {
    const int64_t k = integer_columns(w.k), size = k * PANEL;
    const uint8_t *panel_a = (const uint8_t*)w.data + pa * size, *panel_b = (const uint8_t*)w.data + pb * size;
#if defined(WEFT_AMX)
    const Code* pointers[ROW_BLOCK];
    for (int64_t r = 0; r < rows; r++) pointers[r] = x + r * stride;
#endif
    for (int64_t k0 = 0; k0 < k; k0 += INTEGER_CHUNK) {
        const int64_t columns = k - k0 < INTEGER_CHUNK ? k - k0 : INTEGER_CHUNK;
        const uint8_t *a = panel_a + k0 * PANEL, *b = panel_b + k0 * PANEL;
#if defined(WEFT_AMX)
        tiles_rows(pointers, rows, a, b, k0, k0 + columns, sums, k0 == 0);
#else
        // While the later tiles of rows compute, they prefetch the next column group, as far as they get.
        const int64_t skip = panels_on(pa, pb) * size;
        for (int64_t r = 0; r < rows; r += TILE_ROWS) {
            int count = rows - r < TILE_ROWS ? (int)(rows - r) : TILE_ROWS;
            integer_tile(x + r * stride + k0, stride, count, a, b, columns, sums + r * GROUP, k0 == 0,
                         next_group(a, b, skip, columns * PANEL, r));
        }
#endif
    }
}

// A row's sums of codes as floats, times the scale of the row of x. finish multiplies by the scales of the outputs.
static void scaled_sums(const Weight& w, int64_t pa, int64_t pb, const int32_t* sums, float scale, float* out) {
    for (int c = 0; c < GROUP; c += W) {
        VU sum;
        memcpy(&sum, sums + c, sizeof sum);
#if defined(WEFT_CODES_PLUS_128)
        VU extra;  // 128 * the weight's codes; both may wrap around
        memcpy(&extra, w.code_sums + (c < PANEL ? pa : pb) * PANEL + c % PANEL, sizeof extra);
        sum = sum - (extra << 7);
#endif
        store(out + c, __builtin_convertvector((VI)sum, VF) * splat(scale));
    }
    (void)w, (void)pa, (void)pb;
}

static void linear_in_integers(const LinearArgs& a) {
    const IntegerRows x(a);
    for_tasks(a, [&](int64_t j, int64_t r0, int64_t rows) {
        alignas(64) int32_t sums[ROW_BLOCK * GROUP];
        alignas(64) float floats[GROUP];
        const int64_t pa = first_panel(a, j), pb = second_panel(a, j);
        multiply_integers(*a.w, pa, pb, x.codes + r0 * x.stride, x.stride, rows, sums);
        for (int64_t r = 0; r < rows; r++) {
            scaled_sums(*a.w, pa, pb, sums + r * GROUP, x.scales[r0 + r], floats);
            finish(a, pa, pb, r0 + r, 1, floats, [](int64_t) -> const float* { return nullptr; });
        }
    });
}

}  // namespace WEFT_NS
