// Vectors of W floats for one instruction set, by the compiler's vector types. Compiled once for each ISA level
// (levels/*.cpp).
//
// Everything is static, in the namespace WEFT_NS that the level names, so that the linker never puts one level's code
// into another. No standard templates: the linker would share their instances between levels.
#pragma once

#include <stdint.h>
#include <string.h>

#include "limits.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define WEFT_LANES 16
#elif defined(__AVX2__)
#define WEFT_LANES 8
#else
#define WEFT_LANES 4
#endif

// Products of unsigned by signed bytes, four to a word, added to words.
#if defined(__AVX512VNNI__)
#define WEFT_VNNI(sum, a, b) ((VI)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#elif defined(__AVXVNNI__)
#define WEFT_VNNI(sum, a, b) ((VI)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b)))
#endif

#define WEFT_INLINE static inline __attribute__((always_inline))
#define WEFT_APART static __attribute__((noinline))  // an inner loop that has the registers to itself

namespace WEFT_NS {

constexpr int W = WEFT_LANES;
#if defined(__AVX512BF16__)
constexpr bool BF16_PRODUCTS = true;
#else
constexpr bool BF16_PRODUCTS = false;
#endif
typedef float VF __attribute__((vector_size(4 * WEFT_LANES)));
typedef int32_t VI __attribute__((vector_size(4 * WEFT_LANES)));
typedef uint32_t VU __attribute__((vector_size(4 * WEFT_LANES)));
typedef uint16_t VH __attribute__((vector_size(2 * WEFT_LANES)));
typedef uint8_t VB __attribute__((vector_size(WEFT_LANES)));
typedef int8_t VC __attribute__((vector_size(4 * WEFT_LANES)));

// Conversions of integers to another width, by instructions: the compiler's own conversion takes bytes apart one by
// one.
#if defined(__AVX512F__)
WEFT_INLINE VU widen(VH h) { return (VU)_mm512_cvtepu16_epi32((__m256i)h); }
WEFT_INLINE VU widen(VB b) { return (VU)_mm512_cvtepu8_epi32((__m128i)b); }
WEFT_INLINE VH narrow(VU u) { return (VH)_mm512_cvtepi32_epi16((__m512i)u); }
WEFT_INLINE VB narrow_to_bytes(VU u) { return (VB)_mm512_cvtepi32_epi8((__m512i)u); }
#elif defined(__AVX2__)
WEFT_INLINE VU widen(VH h) { return (VU)_mm256_cvtepu16_epi32((__m128i)h); }
WEFT_INLINE VU widen(VB b) { return (VU)_mm256_cvtepu8_epi32(_mm_set_epi64x(0, (int64_t)b)); }
WEFT_INLINE VH narrow(VU u) { return __builtin_convertvector(u, VH); }
#else
WEFT_INLINE VU widen(VH h) { return __builtin_convertvector(h, VU); }
WEFT_INLINE VU widen(VB b) { return __builtin_convertvector(b, VU); }
WEFT_INLINE VH narrow(VU u) { return __builtin_convertvector(u, VH); }
#endif
#if !defined(__AVX512F__)
WEFT_INLINE VB narrow_to_bytes(VU u) { return __builtin_convertvector(u, VB); }
#endif

// The first two words (half = 0) or the last two (half = 1) of each four 32-bit words of v.
WEFT_INLINE VH two_of_four(VI v, int half) {
#if defined(__AVX512F__)
    const __m512i words = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i order = _mm512_add_epi32(words, _mm512_set1_epi32(2 * half));
    return (VH)_mm512_castsi512_si256(_mm512_permutexvar_epi32(order, (__m512i)v));
#elif defined(__AVX2__)
    __m256i order = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 4, 5, 0, 0, 0, 0), _mm256_set1_epi32(2 * half));
    return (VH)_mm256_castsi256_si128(_mm256_permutevar8x32_epi32((__m256i)v, order));
#else
    VH h;
    for (int i = 0; i < W / 4; i++) memcpy((char*)&h + 8 * i, (char*)&v + 16 * i + 8 * half, 8);
    return h;
#endif
}

// Prefetches the cache line at p into the second-level cache. p may be any address, also one outside our memory.
WEFT_INLINE void fetch(const void* p) { __builtin_prefetch(p, 0, 2); }

WEFT_INLINE VF zero() { return VF{}; }
// By instructions: the compiler would add x to zero, because 0 + -0 is not -0, and only then spread the sum.
#if defined(__AVX512F__)
WEFT_INLINE VF splat(float x) { return (VF)_mm512_set1_ps(x); }
#elif defined(__AVX2__)
WEFT_INLINE VF splat(float x) { return (VF)_mm256_set1_ps(x); }
#else
WEFT_INLINE VF splat(float x) { return VF{x, x, x, x}; }
#endif
WEFT_INLINE VF load(const float* p) {
    VF v;
    memcpy(&v, p, sizeof v);
    return v;
}
WEFT_INLINE void store(float* p, VF v) { memcpy(p, &v, sizeof v); }
// All lanes the 32-bit word at p.
WEFT_INLINE VI splat_word(const void* p) {
    int32_t word;
    memcpy(&word, p, 4);
#if defined(__AVX512F__)
    return (VI)_mm512_set1_epi32(word);
#elif defined(__AVX2__)
    return (VI)_mm256_set1_epi32(word);
#else
    return VI{word, word, word, word};
#endif
}
// a * b + c, fused where the level has fused multiply-add. By instructions, so that it is fused at every call: where one
// product meets two sums, the compiler would not.
#if defined(__AVX512F__)
WEFT_INLINE VF fma(VF a, VF b, VF c) { return (VF)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
#elif defined(__FMA__)
WEFT_INLINE VF fma(VF a, VF b, VF c) { return (VF)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
#elif defined(__aarch64__)
WEFT_INLINE VF fma(VF a, VF b, VF c) { return (VF)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
WEFT_INLINE VF fma(VF a, VF b, VF c) { return a * b + c; }
#endif
WEFT_INLINE VF vmax(VF a, VF b) { return a > b ? a : b; }
WEFT_INLINE VF vmin(VF a, VF b) { return a < b ? a : b; }
WEFT_INLINE float hsum(VF v) {
    // Halves are added to halves, so the order depends on W alone.
    float x[W];
    store(x, v);
    for (int n = W / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) x[i] += x[i + n];
    return x[0];
}
WEFT_INLINE float hmax(VF v) {
    float x[W], m;
    store(x, v);
    m = x[0];
    for (int i = 1; i < W; i++) m = x[i] > m ? x[i] : m;
    return m;
}

// ---- bfloat16 and float16 -------------------------------------------------------------------------------------------

WEFT_INLINE float bf16_to_float(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
// Rounds to nearest, ties to even; NaN stays NaN.
WEFT_INLINE uint16_t float_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
WEFT_INLINE float f16_to_float(uint16_t h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 0x3ff, u;
    if (e == 31) u = sign | 0x7f800000u | (m << 13);
    else if (e != 0) u = sign | ((e + 112) << 23) | (m << 13);
    else {
        float f = (float)m * 5.9604644775390625e-08f;  // 2^-24
        memcpy(&u, &f, 4);
        u |= sign;
    }
    float f;
    memcpy(&f, &u, 4);
    return f;
#endif
}
WEFT_INLINE uint16_t float_to_f16(float f) {
#if defined(__F16C__)
    return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT);
#else
    uint32_t u;
    memcpy(&u, &f, 4);
    uint32_t sign = (u >> 16) & 0x8000, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000u) {  // subnormal: adding 0.5 rounds the value into the mantissa
        float v;
        memcpy(&v, &a, 4);
        v += 0.5f;
        memcpy(&a, &v, 4);
        return (uint16_t)(sign | (a - 0x3f000000u));
    }
    a += 0xfff + ((a >> 13) & 1) - (112u << 23);
    return (uint16_t)(sign | (a >> 13));
#endif
}
WEFT_INLINE VF load_bf16(const uint16_t* p) {
    VH h;
    memcpy(&h, p, sizeof h);
    return (VF)(widen(h) << 16);
}
WEFT_INLINE void store_bf16(uint16_t* p, VF v) {
#if defined(__AVX512BF16__)
    __m256bh h = _mm512_cvtneps_pbh((__m512)v);
    memcpy(p, &h, sizeof h);
#else
    VU u = (VU)v, rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16;
    VU nan = (VU)((u & 0x7fffffffu) > 0x7f800000u);
    VH h = narrow((nan & ((u >> 16) | 0x40)) | (~nan & rounded));
    memcpy(p, &h, sizeof h);
#endif
}
WEFT_INLINE VF load_f16(const uint16_t* p) {
#if defined(__AVX512F__)
    return (VF)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__F16C__)
    return (VF)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#elif defined(__aarch64__)
    return (VF)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    VF v;
    for (int i = 0; i < W; i++) v[i] = f16_to_float(p[i]);
    return v;
#endif
}
WEFT_INLINE void store_f16(uint16_t* p, VF v) {
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__F16C__)
    _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__aarch64__)
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)));
#else
    for (int i = 0; i < W; i++) p[i] = float_to_f16(v[i]);
#endif
}

// ---- element types as parameters: Float<DType> reads and writes floats stored as that type ---------------------------

template <int D> struct Float;
template <> struct Float<F32> {
    typedef float T;
    WEFT_INLINE VF load(const T* p) { return WEFT_NS::load(p); }
    WEFT_INLINE void store(T* p, VF v) { WEFT_NS::store(p, v); }
    WEFT_INLINE float get(T x) { return x; }
    WEFT_INLINE T put(float x) { return x; }
};
template <> struct Float<BF16> {
    typedef uint16_t T;
    WEFT_INLINE VF load(const T* p) { return load_bf16(p); }
    WEFT_INLINE void store(T* p, VF v) { store_bf16(p, v); }
    WEFT_INLINE float get(T x) { return bf16_to_float(x); }
    WEFT_INLINE T put(float x) { return float_to_bf16(x); }
};
template <> struct Float<F16> {
    typedef uint16_t T;
    WEFT_INLINE VF load(const T* p) { return load_f16(p); }
    WEFT_INLINE void store(T* p, VF v) { store_f16(p, v); }
    WEFT_INLINE float get(T x) { return f16_to_float(x); }
    WEFT_INLINE T put(float x) { return float_to_f16(x); }
};

// Runs `call` with D as a constant: F32, BF16 or F16, by a run-time dtype.
// clang-format off: a table of cases
#define WEFT_BY_DTYPE(dtype, call)                                                                                     \
    switch (dtype) {                                                                                                   \
        case F32: { constexpr int D = F32; call; break; }                                                              \
        case BF16: { constexpr int D = BF16; call; break; }                                                            \
        default: { constexpr int D = F16; call; break; }                                                               \
    }
// clang-format on

// Loads n < W elements, with 0 in the other lanes; stores n < W elements.
template <int D> WEFT_INLINE VF load_part(const typename Float<D>::T* p, int n) {
    float x[W] = {};
    for (int i = 0; i < n; i++) x[i] = Float<D>::get(p[i]);
    return load(x);
}
template <int D> WEFT_INLINE void store_part(typename Float<D>::T* p, VF v, int n) {
    typename Float<D>::T x[W];
    Float<D>::store(x, v);
    for (int i = 0; i < n; i++) p[i] = x[i];
}

// ---- functions ------------------------------------------------------------------------------------------------------

// e^x, relative error about 1e-7. 0 below -87.3 (and for -inf), NaN for NaN, inf above 88.7.
// x = n ln 2 + r, |r| <= ln 2 / 2; e^r by Taylor terms up to r^7.
WEFT_INLINE VF vexp(VF x) {
#if defined(__AVX512F__)
    VF lo = splat(-87.33654f), y = vmin(vmax(x, lo), splat(90.0f));
#else
    VF lo = splat(-87.33654f), hi = splat(88.72283f);
    VI under = x<lo, over = x> hi;
    VF y = vmin(vmax(x, lo), hi);
#endif
    VF n = fma(y, splat(1.44269504f), splat(12582912.0f)) - splat(12582912.0f);  // rounded to an integer
    VF r = fma(n, splat(-0.693145752f), y);
    r = fma(n, splat(-1.42860677e-6f), r);
    VF p = splat(1.0f / 5040);
    p = fma(p, r, splat(1.0f / 720));
    p = fma(p, r, splat(1.0f / 120));
    p = fma(p, r, splat(1.0f / 24));
    p = fma(p, r, splat(1.0f / 6));
    p = fma(p, r, splat(0.5f));
    p = fma(p, r, splat(1.0f));
    p = fma(p, r, splat(1.0f));
#if defined(__AVX512F__)
    __mmask16 is_in = _mm512_cmp_ps_mask((__m512)x, (__m512)lo, _CMP_GE_OQ);
    VF e = (VF)_mm512_maskz_scalef_ps(is_in, (__m512)p, (__m512)n);  // p * 2^n
#else
    VI k = __builtin_convertvector(n, VI);
    VI half = k >> 1;  // two factors: 2^128 is no float
    VF e = p * (VF)((half + 127) << 23) * (VF)((k - half + 127) << 23);
    e = under ? zero() : e;
    e = over ? splat(__builtin_inff()) : e;
#endif
    return x != x ? x : e;
}
WEFT_INLINE VF vsigmoid(VF x) { return splat(1.0f) / (splat(1.0f) + vexp(-x)); }
WEFT_INLINE VF vtanh(VF x) {
    // Small x by a series, because 1 - 2 / (e^2x + 1) cancels there.
    VF ax = x < zero() ? -x : x, x2 = x * x;
    VF series = x * (splat(1.0f) + x2 * (splat(-1.0f / 3) + x2 * (splat(2.0f / 15) + x2 * splat(-17.0f / 315))));
    VF e = vexp(splat(2.0f) * x);
    VF large = splat(1.0f) - splat(2.0f) / (e + splat(1.0f));
    return ax < splat(0.15f) ? series : large;
}
// erfc of z >= 0, relative error 2.4e-7: Numerical Recipes' Chebyshev fit (W. H. Press et al., 2nd ed., section 6.2).
WEFT_INLINE VF verfc(VF z) {
    VF t = splat(1.0f) / fma(splat(0.5f), z, splat(1.0f));
    const float c[] = {-1.26551223f, 1.00002368f,  0.37409196f, 0.09678418f,  -0.18628806f,
                       0.27886807f,  -1.13520398f, 1.48851587f, -0.82215223f, 0.17087277f};
    VF p = splat(c[9]);
    for (int i = 8; i >= 0; i--) p = fma(p, t, splat(c[i]));
    return t * vexp(p - z * z);
}
// erf, error 2.4e-7: by erfc, and by a series near 0, where 1 - erfc cancels.
WEFT_INLINE VF verf(VF x) {
    VF z = x < zero() ? -x : x, r = splat(1.0f) - verfc(z);
    const float s[] = {1.12837917f,    -0.376126389f,    0.112837917f,   -0.0268661706f,
                       0.00522397762f, -0.000854832701f, 0.000120553329f};
    VF z2 = z * z, series = splat(s[6]);
    for (int i = 5; i >= 0; i--) series = fma(series, z2, splat(s[i]));
    r = z < splat(0.5f) ? z * series : r;
    return x < zero() ? -r : r;
}

// The normal distribution function erfc(-x / sqrt 2) / 2, as GELU multiplies by it: the fit of erfc above, without the
// series, whose digits near 0 the product does not show.
WEFT_INLINE VF vnormal(VF x) {
    VF z = (x < zero() ? -x : x) * splat(0.70710678f), half = splat(0.5f) * verfc(z);
    return x < zero() ? half : splat(1.0f) - half;
}

WEFT_INLINE VF activate(VF x, int act) {
    switch (act) {
        case ACT_SILU: return x * vsigmoid(x);
        case ACT_GELU: return x * vnormal(x);
        case ACT_GELU_TANH:  // (1 + tanh(y)) / 2 is sigmoid(2 y)
            return x * vsigmoid(splat(2 * 0.79788456f) * fma(splat(0.044715f) * x * x, x, x));
        case ACT_QUICK_GELU: return x * vsigmoid(splat(1.702f) * x);
        case ACT_RELU: return vmax(x, zero());
        case ACT_RELU2: {
            VF y = vmax(x, zero());
            return y * y;
        }
        case ACT_TANH: return vtanh(x);
        case ACT_SIGMOID: return vsigmoid(x);
        default: return x;
    }
}

}  // namespace WEFT_NS
