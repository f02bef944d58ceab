// Reads the numbers of a weight's codes (quantized values) and 16-bit floats: columns of a panel as floats, or pairs of
// columns as bfloat16. Layouts: kernels.h.
//
// As pairs, the number of a code is its integer (code - zero), without scale and offset, exact in bfloat16. As floats,
// the number is code * 2^shift, where the code lies `shift` bits up in its word: the rows of x were multiplied by
// 2^-shift (code_factor), which is exact, and sums start at minus `zero` times the sum of x (product_tiles.h). So a
// code becomes a float by two instructions.
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
        case W_U8:
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
    const int byte = 4 * c + (int)(k % 2 * 2 + k / 2 % 2);  // of four columns' bytes
    if (w.kind == W_U8) return panel[k / 4 * 128 + byte] - w.zero;
    if (w.kind == W_Q8) {
        int code = panel[s / 2 * 128 + c / 4 * 16 + s % 2 * 8 + c % 4 * 2 + k % 2];
        return code == 128 ? -128 : code & 128 ? -(code & 127) : code;
    }
    const int bits = w.kind - W_Q4, columns = w.kind == W_Q5 ? 32 : 16, q = (int)(k % columns / 4);
    const uint8_t* unit = panel + k / columns * (columns / 8 * 128 + 128);
    int low = unit[q / 2 * 128 + byte] >> (q % 2 * 4) & 15;
    int high = unit[columns / 8 * 128 + byte] >> (bits * q) & ((1 << bits) - 1);
    return (low | high << 4) - w.zero;
}

// A unit is the columns that are stored together. UNIT_BYTES: the bytes of a panel's unit.
template <int KIND>
constexpr int UNIT = KIND == W_F32 || KIND == W_F16 ? 1
                     : KIND == W_BF16               ? 2
                     : KIND == W_U8 || KIND == W_Q8 ? 4
                     : KIND == W_Q4                 ? 8
                     : KIND == W_Q6                 ? 16
                                                    : 32;
template <int KIND>
constexpr int UNIT_BYTES = KIND == W_F16  ? 64
                           : KIND == W_Q5 ? 640
                           : KIND == W_Q6 ? 384
                                          : 128;

template <int KIND> WEFT_INLINE void fetch_unit(const uint8_t* p) {
    for (int line = 0; line < UNIT_BYTES<KIND>; line += 64) fetch(p + line);
}

// ---- columns as floats, on every level ------------------------------------------------------------------------------

// Bits from the lowest bit of a word to the code of column i of a unit, as column_of reads the code.
WEFT_INLINE constexpr int code_shift(int kind, int i) {
    if (kind == W_Q4) return i == 7 ? 0 : i % 2 * 16 + i / 2 * 4;
    return i % 4 == 3 ? 0 : i % 4 == 2 ? 8 : i % 4 * 16;
}

// The factor on column k of x for a weight of codes, 2^-code_shift.
WEFT_INLINE float code_factor(int kind, int64_t k) {
    return 1.0f / (float)(1 << code_shift(kind, (int)(k % (kind == W_Q4 ? 8 : 4))));
}

WEFT_INLINE VU load_words(const uint8_t* p) {
    VU u;
    memcpy(&u, p, sizeof u);
    return u;
}

WEFT_INLINE VF float_of(VU bits) { return __builtin_convertvector((VI)bits, VF); }

// Columns of a unit that one word holds.
template <int KIND> constexpr int WORD = UNIT<KIND> < 16 ? UNIT<KIND> : 4;

// The codes of columns [4 q, 4 q + 4) of a unit of 5 or 6 bits, in the bytes of the words of rows [c, c + W).
template <int KIND>
WEFT_INLINE VU joined_codes(const uint8_t* unit, int q, int c) {
    constexpr int BITS = KIND - W_Q4;  // high bits of a code
    constexpr uint32_t LOW = 0x0f0f0f0fu, HIGH = ((1u << BITS) - 1) * 0x10101010u;
    VU low = load_words(unit + q / 2 * 128 + 4 * c), high = load_words(unit + UNIT<KIND> / 8 * 128 + 4 * c);
    const int up = 4 - BITS * q;
    return ((q % 2 ? low >> 4 : low) & LOW) | ((up > 0 ? high << up : high >> -up) & HIGH);
}

// Zero that the compiler does not know. Added to an address, it has memory read again: registers that would keep the
// words of a unit are wanted for sums.
WEFT_INLINE int64_t unknown_zero() {
    int64_t value = 0;
    asm volatile("" : "+r"(value));
    return value;
}

// What column_of reads of word q of a unit, rows [c, c + W): the joined codes, or where they lie.
template <int KIND> WEFT_INLINE auto word_of(const uint8_t* unit, int q, int c) {
    if constexpr (KIND == W_Q5 || KIND == W_Q6) return joined_codes<KIND>(unit, q, c);
    else return unit + (KIND == W_F16 ? 2 : 4) * c;
}

// Column i of the columns of a word, as floats. Unrolled loops make i a constant. nothing: unknown_zero.
template <int KIND, class Word> WEFT_INLINE VF column_of(Word word, int i, [[maybe_unused]] int64_t nothing) {
    if constexpr (KIND != W_Q5 && KIND != W_Q6) word += nothing;
    if constexpr (KIND == W_F32) return load((const float*)word);
    else if constexpr (KIND == W_F16) return load_f16((const uint16_t*)word);
    else if constexpr (KIND == W_BF16) {
        VU u = load_words(word);
        return (VF)(i == 0 ? u << 16 : u & 0xffff0000u);
    } else if constexpr (KIND == W_Q4) {
        VU u = load_words(word);
        return float_of(i == 7 ? u >> 28 : u & (15u << code_shift(KIND, i)));
    } else {
        VU u;
        if constexpr (KIND == W_U8) u = load_words(word);
        else u = word;
        return float_of(i == 3 ? u >> 24 : u & (255u << code_shift(KIND, i)));
    }
}

// Unpacks columns [k0, k1) of a panel to the floats that column_of reads, [k1 - k0][32].
template <int KIND>
static void unpack_floats(const uint8_t* panel, int64_t k0, int64_t k1, float* out) {
    const uint8_t* unit = panel + k0 / UNIT<KIND> * UNIT_BYTES<KIND>;
    for (int64_t k = k0; k < k1; k += UNIT<KIND>, unit += UNIT_BYTES<KIND>, out += UNIT<KIND> * PANEL)
#pragma GCC unroll 8
        for (int q = 0; q < UNIT<KIND> / WORD<KIND>; q++)
            for (int c = 0; c < PANEL; c += W) {
                const auto word = word_of<KIND>(unit, q, c);
#pragma GCC unroll 8
                for (int i = 0; i < WORD<KIND>; i++)
                    store(out + (q * WORD<KIND> + i) * PANEL + c, column_of<KIND>(word, i, 0));
            }
}

static void unpack_floats(const Weight& w, const uint8_t* panel, int64_t k0, int64_t k1, float* out) {
    switch (w.kind) {
        case W_Q4: unpack_floats<W_Q4>(panel, k0, k1, out); break;
        case W_Q5: unpack_floats<W_Q5>(panel, k0, k1, out); break;
        case W_Q6: unpack_floats<W_Q6>(panel, k0, k1, out); break;
        default: unpack_floats<W_U8>(panel, k0, k1, out); break;
    }
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
    if constexpr (KIND == W_Q5 || KIND == W_Q6) {  // steps 2 q and 2 q + 1: bytes 0 and 2, bytes 1 and 3
        __m512i index = (__m512i)joined_codes<KIND>(unit, j / 2, c);
        if (j % 2) index = _mm512_srli_epi16(index, 8);
        if constexpr (KIND == W_Q5) return _mm512_permutexvar_epi16(index, t.a);
        return _mm512_permutex2var_epi16(t.a, index, t.b);
    }
}

// Unpacks columns [k0, k1) of a panel to pairs of bfloat16 [(k1 - k0) / 2][32][2]. next: bytes to the
// columns that are unpacked next, which are prefetched.
template <int KIND>
static void unpack_unit_pairs(const Weight& w, const uint8_t* panel, int64_t k0, int64_t k1, uint16_t* out,
                              int64_t next) {
    const Lookup<KIND> lookup(w.numbers);
    const uint8_t* unit = panel + k0 / UNIT<KIND> * UNIT_BYTES<KIND>;
    for (int64_t k = k0; k < k1; k += UNIT<KIND>, unit += UNIT_BYTES<KIND>) {
        fetch_unit<KIND>(unit + next);
#pragma GCC unroll 16
        for (int j = 0; j < UNIT<KIND> / 2; j++, out += 2 * PANEL)
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
