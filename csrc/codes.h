// Unpacks codes (quantized values) and 16-bit floats of a weight: two columns of a panel at a time, into registers or a
// buffer.
//
// The number of a code is its integer (code - zero), without scale and offset. Numbers are exact in float32; those of
// codes are exact in bfloat16 too. Layouts: kernels.h.
#pragma once

#include "byte_numbers.h"
#include "kernels.h"
#include "simd.h"

namespace WEFT_NS {

WEFT_INLINE int64_t panel_bytes(const Weight& w) {
    switch (w.kind) {
        case W_F32: return 4 * w.k * PANEL;
        case W_Q4: return w.k / 2 * PANEL;
        case W_Q5: return w.k * 5 / 8 * PANEL;
        case W_Q6: return w.k * 6 / 8 * PANEL;
        case W_Q8: return w.k * PANEL;
        case W_S8: return integer_columns(w.k) * PANEL;
        default: return 2 * w.k * PANEL;
    }
}

// code - zero in column k, row c of a panel.
WEFT_INLINE int code_at(const Weight& w, const uint8_t* panel, int64_t k, int c) {
    auto word = [&](int64_t at) {
        uint16_t v;
        memcpy(&v, panel + at + 4 * c + 2 * (k % 2), 2);
        return (int)v;
    };
    int64_t s = k / 2;
    if (w.kind == W_S8) return (int8_t)panel[k / 4 * 128 + 4 * c + k % 4];
    if (w.kind == W_Q4) return (word(s / 4 * 128) >> (s % 4 * 4) & 15) - w.zero;
    if (w.kind == W_Q8) {
        int byte = panel[s / 2 * 128 + c / 4 * 16 + s % 2 * 8 + c % 4 * 2 + k % 2];
        return byte == 128 ? -128 : byte & 128 ? -(byte & 127) : byte;
    }
    int64_t unit = s / 8 * (w.kind == W_Q5 ? 320 : 384), j = s % 8;
    int low = word(unit + j / 4 * 128) >> (j % 4 * 4) & 15;
    int high = w.kind == W_Q5 ? panel[unit + 256 + 2 * c + k % 2] >> j & 1 : word(unit + 256) >> (2 * j) & 3;
    return (low | high << 4) - w.zero;
}

// A unit is the steps (pairs of columns) that are stored together: several for codes, one for floats. UNIT_BYTES: the
// bytes of a panel's unit.
template <int KIND> constexpr int UNIT = KIND == W_Q4 ? 4 : KIND == W_Q8 ? 2 : KIND == W_Q5 || KIND == W_Q6 ? 8 : 1;
template <int KIND> constexpr int UNIT_BYTES = KIND == W_Q5 ? 320 : KIND == W_Q6 ? 384 : 128;

template <int KIND> WEFT_INLINE void fetch_unit(const uint8_t* p) {
    for (int line = 0; line < UNIT_BYTES<KIND>; line += 64) fetch(p + line);
}

// ---- as floats, on every level --------------------------------------------------------------------------------------

WEFT_INLINE VU load_words(const uint8_t* p) {
    VU u;
    memcpy(&u, p, sizeof u);
    return u;
}

// Turns codes into numbers by subtracting the zero. 4-bit codes are looked up in a register, where one holds 16 floats.
struct Numbers {
    int zero;
    VF table;

    explicit Numbers(int zero) : zero(zero), table() {
        for (int i = 0; i < W; i++) table[i] = (float)(i - zero);
    }
    // The numbers of the lower four bits of each word of u; the upper bits may be anything.
    inline __attribute__((always_inline)) VF of_four_bits(VU u) const {
#if WEFT_LANES == 16
        return (VF)_mm512_permutexvar_ps((__m512i)u, (__m512)table);
#else
        return __builtin_convertvector((VI)(u & 15) - zero, VF);
#endif
    }
};

// Reads step j of the unit at `unit`, rows [c, c + W): the numbers of its first and its second column. Unrolled loops
// make j a constant.
template <int KIND>
WEFT_INLINE void pair_floats(const uint8_t* unit, int j, int c, const Numbers& numbers, VF& first, VF& second) {
    const uint8_t* p = unit + 4 * c;
    if constexpr (KIND == W_BF16) {
        VU u = load_words(p);
        first = (VF)(u << 16);
        second = (VF)(u & 0xffff0000u);
    } else if constexpr (KIND == W_F16) {
        VU u = load_words(p);
        VH lo = narrow(u & 0xffffu), hi = narrow(u >> 16);
        first = load_f16((const uint16_t*)&lo);
        second = load_f16((const uint16_t*)&hi);
    } else if constexpr (KIND == W_Q4) {
        VU u = load_words(p);
        first = numbers.of_four_bits(u >> (4 * j));
        second = numbers.of_four_bits(u >> (16 + 4 * j));
    } else if constexpr (KIND == W_Q8) {
        VC codes;
        memcpy(&codes, p, sizeof codes);
        VC negative = (VC)(codes < 0), least = (VC)(codes == -128);  // "-0" is -128
        codes = (((codes & 127) ^ negative) - negative) | (codes & least);
        VI i = (VI)widen(two_of_four((VI)codes, j));  // two words (four rows) of each step alternate
        first = __builtin_convertvector((i << 24) >> 24, VF);
        second = __builtin_convertvector((i << 16) >> 24, VF);
    } else {
        VU u = load_words(p + j / 4 * 128) >> (j % 4 * 4), lo, hi;
        if constexpr (KIND == W_Q5) {
            VH h;
            memcpy(&h, unit + 256 + 2 * c, sizeof h);
            VU v = widen(h) >> j;
            lo = (u & 15) | (v & 1) << 4;
            hi = ((u >> 16) & 15) | ((v >> 8) & 1) << 4;
        } else {
            VU v = load_words(p + 256) >> (2 * j);
            lo = (u & 15) | (v & 3) << 4;
            hi = ((u >> 16) & 15) | ((v >> 16) & 3) << 4;
        }
        first = __builtin_convertvector((VI)lo - numbers.zero, VF);
        second = __builtin_convertvector((VI)hi - numbers.zero, VF);
    }
}

// Runs its last argument with KIND as a constant, for a weight that is stored in 16 bits or less.
// clang-format off: a table of cases
#define WEFT_BY_STORAGE(kind, ...)                                                                                     \
    switch (kind) {                                                                                                    \
        case W_BF16: { constexpr int KIND = W_BF16; __VA_ARGS__; break; }                                              \
        case W_F16: { constexpr int KIND = W_F16; __VA_ARGS__; break; }                                                \
        case W_Q4: { constexpr int KIND = W_Q4; __VA_ARGS__; break; }                                                  \
        case W_Q5: { constexpr int KIND = W_Q5; __VA_ARGS__; break; }                                                  \
        case W_Q6: { constexpr int KIND = W_Q6; __VA_ARGS__; break; }                                                  \
        default: { constexpr int KIND = W_Q8; __VA_ARGS__; break; }                                                    \
    }
// clang-format on

// Unpacks columns [k0, k1) of a panel to floats [k1 - k0][32]. next: bytes to the columns that are unpacked next, which
// are prefetched.
static void unpack_floats(const Weight& w, const uint8_t* panel, int64_t k0, int64_t k1, float* out, int64_t next) {
    const Numbers numbers(w.zero);
    WEFT_BY_STORAGE(w.kind, {
        const uint8_t* unit = panel + k0 / 2 / UNIT<KIND> * UNIT_BYTES<KIND>;
        for (int64_t s = k0 / 2; s < k1 / 2; s += UNIT<KIND>, unit += UNIT_BYTES<KIND>) {
            fetch_unit<KIND>(unit + next);
            _Pragma("GCC unroll 8")
            for (int j = 0; j < UNIT<KIND>; j++, out += 2 * PANEL)
                for (int c = 0; c < PANEL; c += W) {
                    VF first, second;
                    pair_floats<KIND>(unit, j, c, numbers, first, second);
                    store(out + c, first);
                    store(out + PANEL + c, second);
                }
        }
    })
}

// ---- as pairs of bfloat16 -------------------------------------------------------------------------------------------

#if defined(__AVX512BF16__)

// The bfloat16 numbers of all codes, in registers.
template <int KIND> struct Lookup {
    __m512i a, b;
    explicit Lookup([[maybe_unused]] const uint16_t* numbers) {
        if constexpr (KIND != W_BF16) a = _mm512_loadu_si512(numbers);
        if constexpr (KIND == W_Q6) b = _mm512_loadu_si512(numbers + 32);
    }
};
template <> struct Lookup<W_Q8> {
    ByteLookup bytes{BYTE_INTEGER};
    explicit Lookup(const uint16_t*) {}
};

// Reads step j of the unit at `unit`, rows [c, c + 16), as 16 pairs of bfloat16. Unrolled loops make j a constant.
template <int KIND>
WEFT_INLINE __m512i pair_of_unit(const Lookup<KIND>& t, const uint8_t* unit, int j, int c) {
    const uint8_t* p = unit + 4 * c;
    if constexpr (KIND == W_BF16) return _mm512_loadu_si512(p);
    if constexpr (KIND == W_Q4) return _mm512_permutexvar_epi16(_mm512_srli_epi16(_mm512_loadu_si512(p), 4 * j), t.a);
    if constexpr (KIND == W_Q8) {
        __m512i codes = _mm512_loadu_si512(p);
        __m512i high, low;
        t.bytes.read(codes, high, low);
        __mmask64 least = _mm512_cmpeq_epi8_mask(codes, _mm512_set1_epi8((char)128));
        high = _mm512_mask_mov_epi8(high, least, _mm512_set1_epi8((char)0xc3));  // -128 is 0xc300
        return j == 0 ? _mm512_unpacklo_epi8(low, high) : _mm512_unpackhi_epi8(low, high);
    }
    if constexpr (KIND == W_Q5 || KIND == W_Q6) {
        __m512i low = _mm512_srli_epi16(_mm512_loadu_si512(p + j / 4 * 128), j % 4 * 4), high;
        if constexpr (KIND == W_Q5) {
            high = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)(unit + 256 + 2 * c)));
            high = j < 4 ? _mm512_slli_epi16(high, 4 - j) : _mm512_srli_epi16(high, j - 4);
        } else {
            high = _mm512_loadu_si512(p + 256);
            high = j < 2 ? _mm512_slli_epi16(high, 4 - 2 * j) : _mm512_srli_epi16(high, 2 * j - 4);
        }
        __m512i index = _mm512_ternarylogic_epi64(_mm512_set1_epi16(15), low, high, 0xca);  // a ? b : c
        if constexpr (KIND == W_Q5) return _mm512_permutexvar_epi16(index, t.a);
        return _mm512_permutex2var_epi16(t.a, index, t.b);
    }
}

// Unpacks columns [k0, k1) of a panel to pairs of bfloat16 [(k1 - k0) / 2][32][2]. next: as for unpack_floats.
template <int KIND>
static void unpack_unit_pairs(const Weight& w, const uint8_t* panel, int64_t k0, int64_t k1, uint16_t* out,
                              int64_t next) {
    const Lookup<KIND> lookup(w.numbers);
    const uint8_t* unit = panel + k0 / 2 / UNIT<KIND> * UNIT_BYTES<KIND>;
    for (int64_t s = k0 / 2; s < k1 / 2; s += UNIT<KIND>, unit += UNIT_BYTES<KIND>) {
        fetch_unit<KIND>(unit + next);
#pragma GCC unroll 8
        for (int j = 0; j < UNIT<KIND>; j++, out += 2 * PANEL)
            for (int c = 0; c < PANEL; c += 16)
                _mm512_storeu_si512(out + 2 * c, pair_of_unit<KIND>(lookup, unit, j, c));
    }
}
static void unpack_pairs(const Weight& w, const uint8_t* panel, int64_t k0, int64_t k1, uint16_t* out, int64_t next) {
    switch (w.kind) {
        case W_Q4: unpack_unit_pairs<W_Q4>(w, panel, k0, k1, out, next); break;
        case W_Q5: unpack_unit_pairs<W_Q5>(w, panel, k0, k1, out, next); break;
        case W_Q6: unpack_unit_pairs<W_Q6>(w, panel, k0, k1, out, next); break;
        default: unpack_unit_pairs<W_Q8>(w, panel, k0, k1, out, next); break;
    }
}
#endif

}  // namespace WEFT_NS
