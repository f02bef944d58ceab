// 8-bit numbers as bfloat16, by table lookup: a byte's upper bit is the sign, the other seven bits are the index.
#pragma once

#include "simd.h"

namespace WEFT_NS {

enum ByteNumber : int { BYTE_INTEGER, BYTE_E4M3, BYTE_E5M2 };

// The bits of the bfloat16 m * 2^exponent, for an integer m >= 0 of at most 8 bits.
constexpr int bf16_of(int m, int exponent) {
    if (m == 0) return 0;
    int e = 0;
    while (m >> (e + 1)) e++;
    return (127 + e + exponent) << 7 | (m << (7 - e) & 127);
}

// The high and the low bytes of the bfloat16 of all 128 numbers without a sign. All are exact.
struct ByteTable {
    uint8_t high[128], low[128];

    constexpr explicit ByteTable(int kind) : high(), low() {
        for (int i = 0; i < 128; i++) {
            int bits = 0;
            if (kind == BYTE_INTEGER) bits = bf16_of(i, 0);
            else {
                const int places = kind == BYTE_E4M3 ? 3 : 2, bias = kind == BYTE_E4M3 ? 7 : 15;
                const int e = i >> places, m = i & ((1 << places) - 1);
                if (kind == BYTE_E4M3 && i == 127) bits = 0x7fc0;
                else if (kind == BYTE_E5M2 && e == 31) bits = m ? 0x7fc0 : 0x7f80;
                else bits = e == 0 ? bf16_of(m, 1 - bias - places) : bf16_of(m | 1 << places, e - bias - places);
            }
            high[i] = (uint8_t)(bits >> 8);
            low[i] = (uint8_t)bits;
        }
    }
};

#if defined(__AVX512BF16__)
alignas(64) static constexpr ByteTable byte_tables[3] = {ByteTable(BYTE_INTEGER), ByteTable(BYTE_E4M3),
                                                         ByteTable(BYTE_E5M2)};

// A table in registers.
struct ByteLookup {
    __m512i high[2], low[2];

    explicit ByteLookup(int kind) {
        for (int i = 0; i < 2; i++) {
            high[i] = _mm512_loadu_si512(byte_tables[kind].high + 64 * i);
            low[i] = _mm512_loadu_si512(byte_tables[kind].low + 64 * i);
        }
    }

    // The high and the low bytes of the bfloat16 of 64 codes.
    inline __attribute__((always_inline)) void read(__m512i codes, __m512i& high_bytes, __m512i& low_bytes) const {
        const __m512i sign = _mm512_set1_epi8((char)128);
        low_bytes = _mm512_permutex2var_epi8(low[0], codes, low[1]);
        high_bytes = _mm512_permutex2var_epi8(high[0], codes, high[1]);
        high_bytes = _mm512_ternarylogic_epi64(high_bytes, codes, sign, 0xf8);  // a | (b & c)
    }
};
#endif

}  // namespace WEFT_NS
