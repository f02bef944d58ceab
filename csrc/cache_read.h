// Opens a span of cached keys and values (four blocks of one head) for the tiles: blocks whose numbers are the tiles'
// own are used where they lie, others are converted into a scratch buffer.
#pragma once

#include "byte_numbers.h"
#include "latents.h"

namespace WEFT_NS {
namespace paged {

constexpr int SPAN = SPAN_BLOCKS * KV_BLOCK;

// T = uint16_t: pairs of bfloat16; keys [head_dim / 2][16][2], values [8][width][2], for each of the four blocks.
// T = float: keys [head_dim][16], values [16][width]. width: value_dim rounded up to 16, the rest 0.
template <class T> struct Span {
    const T *keys[SPAN_BLOCKS], *values[SPAN_BLOCKS];
    const float *key_scales[SPAN_BLOCKS], *value_scales[SPAN_BLOCKS];  // [16] each, for KV_INT8 only
};

// Stands in for a block that no row sees: its bytes are zeros in every number format.
alignas(64) static const uint8_t NO_BLOCK[KV_BLOCK * LARGEST_LATENT * 4 + 64] = {};

// Cached numbers are read in units of this: 2^8 for e4m3, read as float16, whose exponent counts from 8 more. The units
// of bfloat16 pairs, which a table makes, are 1.
template <class T> constexpr float unit_of(int kind) { return sizeof(T) == 4 && kind == KV_E4M3 ? 256.0f : 1.0f; }

// W pairs of 8-bit floats as float16: the first and the second numbers of the pairs. The bits of e5m2 are the upper
// half of a float16's, those of e4m3 stand one place lower.
template <class V> WEFT_INLINE void as_float16(int kind, V pairs, V& first, V& second) {
    first = pairs << 8, second = pairs & ~255;
    if (kind == KV_E5M2) return;
    // The sign is shifted, too: its copy in the place of the exponent's upper bit goes, except where all bits below are
    // set, which is NaN.
    const V low = (V)((first & 0x7f00) == 0x7f00), high = (V)((second & 0x7f00) == 0x7f00);
    first = ((first >> 1) & (int16_t)0xbf80) | (low & 0x7c00);
    second = ((second >> 1) & (int16_t)0xbf80) | (high & 0x7c00);
}

// Reads W pairs as two vectors of floats, in units of unit_of<float>: the first and the second numbers of the pairs.
WEFT_INLINE void read_pairs(int kind, const uint8_t* in, VF& first, VF& second) {
    typedef int16_t VS __attribute__((vector_size(2 * WEFT_LANES)));
    if (kind == KV_BF16) {
        VU u;
        memcpy(&u, in, sizeof u);
        first = (VF)(u << 16);
        second = (VF)(u & 0xffff0000u);
    } else if (kind == KV_F16) {
        VU u;
        memcpy(&u, in, sizeof u);
#if WEFT_LANES == 8
        const __m256i apart = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,  //
                                               0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
        const __m256i v = _mm256_shuffle_epi8((__m256i)u, apart);
        const __m128i a = _mm256_castsi256_si128(v), b = _mm256_extracti128_si256(v, 1);
        first = (VF)_mm256_cvtph_ps(_mm_unpacklo_epi64(a, b));
        second = (VF)_mm256_cvtph_ps(_mm_unpackhi_epi64(a, b));
#else
        const VH lo = narrow(u & 0xffffu), hi = narrow(u >> 16);
        first = load_f16((const uint16_t*)&lo);
        second = load_f16((const uint16_t*)&hi);
#endif
    } else if (kind == KV_INT8) {  // sign and magnitude
        VH h;
        memcpy(&h, in, sizeof h);
        const VU u = widen(h);
        first = (VF)((VU) __builtin_convertvector((VI)(u & 127), VF) | (u & 128) << 24);
        second = (VF)((VU) __builtin_convertvector((VI)(u >> 8 & 127), VF) | (u & 0x8000u) << 16);
    } else {
        VS pairs, lo, hi;
        memcpy(&pairs, in, sizeof pairs);
        as_float16(kind, pairs, lo, hi);
        first = load_f16((const uint16_t*)&lo);
        second = load_f16((const uint16_t*)&hi);
    }
}

// Converts n pairs (a multiple of W) to the tiles' type: as pairs of bfloat16, which hold every 8-bit format exactly,
// or as floats, the second numbers `stride` floats behind the first.
WEFT_INLINE void convert(int kind, const uint8_t* in, int n, uint16_t* out, int) {
    for (int i = 0; i < n; i += W) {
        VF first, second;
        read_pairs(kind, in + i * 2 * kv_bytes(kind), first, second);
        VU pairs = ((VU)first >> 16) | ((VU)second & 0xffff0000u);
        memcpy(out + 2 * i, &pairs, sizeof pairs);
    }
}
WEFT_INLINE void convert(int kind, const uint8_t* in, int n, float* out, int stride) {
    for (int i = 0; i < n; i += W) {
        VF first, second;
        read_pairs(kind, in + i * 2 * kv_bytes(kind), first, second);
        store(out + i, first);
        store(out + stride + i, second);
    }
}

#if defined(__AVX512BF16__)
constexpr ByteNumber byte_number(int kind) {
    return kind == KV_INT8 ? BYTE_INTEGER : kind == KV_E4M3 ? BYTE_E4M3 : BYTE_E5M2;
}

// Converts 64 bytes to two vectors of 16 pairs of bfloat16.
struct BytePairs {
    ByteLookup table;
    // Order of the 8-byte words before unpacking, which takes the lower halves of all 16-byte lanes, then the upper
    // ones.
    __m512i by_turns = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);

    explicit BytePairs(ByteNumber kind) : table(kind) {}

    inline __attribute__((always_inline)) void convert(__m512i bytes, __m512bh& first, __m512bh& second) const {
        __m512i high, low;
        table.read(_mm512_permutexvar_epi64(by_turns, bytes), high, low);
        first = (__m512bh)_mm512_unpacklo_epi8(low, high);
        second = (__m512bh)_mm512_unpackhi_epi8(low, high);
    }
    inline __attribute__((always_inline)) void read(const uint8_t* p, __m512bh& first, __m512bh& second) const {
        convert(_mm512_loadu_si512(p), first, second);
    }
};

// Converts a row of n bytes to n bfloat16 numbers; bytes past n, up to a whole vector, count as zeros. ahead: the n
// bytes to prefetch meanwhile.
template <int KIND> static void convert_bytes(const uint8_t* in, int64_t n, uint16_t* out, const uint8_t* ahead) {
    const BytePairs pairs(byte_number(KIND));
    for (int64_t i = 0; i < n; i += 64, out += 64) {
        __mmask64 there = n - i >= 64 ? ~0ull : (1ull << (n - i)) - 1;
        fetch(ahead + i);
        __m512bh first, second;
        pairs.convert(_mm512_maskz_loadu_epi8(there, in + i), first, second);
        _mm512_storeu_si512(out, (__m512i)first);
        if (n - i > 32) _mm512_storeu_si512(out + 32, (__m512i)second);
    }
}
template <class T, int KIND>
constexpr bool BY_TABLE = sizeof(T) == 2 && (KIND == KV_INT8 || KIND == KV_E4M3 || KIND == KV_E5M2);
#else
template <int KIND> static void convert_bytes(const uint8_t*, int64_t, uint16_t*, const uint8_t*) {}
template <class T, int KIND> constexpr bool BY_TABLE = false;
#endif

template <class T, int KIND> static void convert_keys(const uint8_t* k, int64_t d, T* out, const uint8_t* ahead) {
    if constexpr (BY_TABLE<T, KIND>) convert_bytes<KIND>(k, KV_BLOCK * d, (uint16_t*)out, ahead);
    else if constexpr (KIND == KV_F32) memcpy(out, k, sizeof(float) * KV_BLOCK * d);
    else
        for (int64_t s = 0; s < d / 2; s++)
            convert(KIND, k + s * KV_BLOCK * 2 * kv_bytes(KIND), KV_BLOCK, out + s * 2 * KV_BLOCK, KV_BLOCK);
}
template <class T, int KIND> static void convert_values(const uint8_t* v, int64_t d, int64_t width, T* out,
                                                        const uint8_t* ahead) {
    constexpr bool same = KIND == (sizeof(T) == 2 ? KV_BF16 : KV_F32);
    constexpr int rows = KIND == KV_F32 ? KV_BLOCK : KV_BLOCK / 2;
    int64_t unit = (KIND == KV_F32 ? 1 : 2) * kv_bytes(KIND), whole = d / W * W;
    for (int s = 0; s < rows; s++) {
        const uint8_t* row = v + s * d * unit;
        T* to = out + s * (KV_BLOCK / rows) * width;
        if constexpr (BY_TABLE<T, KIND>) convert_bytes<KIND>(row, 2 * d, (uint16_t*)to, ahead + (row - v));
        else if constexpr (same) memcpy(to, row, d * unit);
        else {
            convert(KIND, row, (int)whole, to, (int)width);
            if (whole == d) continue;
            uint8_t rest[W * 4] = {};
            memcpy(rest, row + whole * unit, (d - whole) * unit);
            convert(KIND, rest, W, to + (sizeof(T) == 2 ? 2 : 1) * whole, (int)width);
        }
    }
}

// clang-format off: a table of cases
#define WEFT_BY_KIND(kind, call)                                                                                       \
    switch (kind) {                                                                                                    \
        case KV_F32: { constexpr int KIND = KV_F32; call; break; }                                                     \
        case KV_BF16: { constexpr int KIND = KV_BF16; call; break; }                                                   \
        case KV_F16: { constexpr int KIND = KV_F16; call; break; }                                                     \
        case KV_E4M3: { constexpr int KIND = KV_E4M3; call; break; }                                                   \
        case KV_E5M2: { constexpr int KIND = KV_E5M2; call; break; }                                                   \
        default: { constexpr int KIND = KV_INT8; call; break; }                                                        \
    }
#define WEFT_BY_PAIR_KIND(kind, call)                                                                                  \
    switch (kind) {                                                                                                    \
        case KV_BF16: { constexpr int KIND = KV_BF16; call; break; }                                                   \
        case KV_F16: { constexpr int KIND = KV_F16; call; break; }                                                     \
        case KV_E4M3: { constexpr int KIND = KV_E4M3; call; break; }                                                   \
        case KV_E5M2: { constexpr int KIND = KV_E5M2; call; break; }                                                   \
        default: { constexpr int KIND = KV_INT8; call; break; }                                                        \
    }
// clang-format on

// True if the cache holds the tiles' own number type: keys then need no conversion, and neither do values whose rows
// are whole vectors.
template <class T> WEFT_INLINE bool is_own_type(const KvCache& c) {
    return c.kind == (sizeof(T) == 2 ? KV_BF16 : KV_F32);
}

WEFT_INLINE int64_t round_up(int64_t d) { return (d + 15) / 16 * 16; }

// Opens span number `span` of one KV head. direct: blocks are used where they lie. table: ids of the sequence's blocks.
// Blocks without a key in [begin, end) are not read, because no row sees them. scratch: [SPAN * (head_dim rounded up to
// 16 + width)] of T, for converted blocks.
template <class T>
static void open_span(const KvCache& c, bool direct, int64_t head, const int32_t* table, int64_t span, int64_t begin,
                      int64_t end, T* scratch, Span<T>& out) {
    int64_t bytes = block_bytes(c), d = c.head_dim, key_width = round_up(d), width = round_up(c.value_dim);
    for (int b = 0; b < SPAN_BLOCKS; b++) {
        int64_t first = (span * SPAN_BLOCKS + b) * KV_BLOCK;
        bool seen = first < end && first + KV_BLOCK > begin;
        T *keys = scratch + b * KV_BLOCK * key_width, *values = scratch + SPAN * key_width + b * KV_BLOCK * width;
        if (!seen) {
            out.keys[b] = out.values[b] = (const T*)NO_BLOCK;
            if (!direct) {
                memset(values, 0, sizeof(T) * KV_BLOCK * width);
                out.values[b] = values;
            }
            out.key_scales[b] = out.value_scales[b] = (const float*)NO_BLOCK;
            continue;
        }
        int64_t at = (table[span * SPAN_BLOCKS + b] * c.kv_heads + head) * bytes;
        uint8_t *k = (uint8_t*)c.k + at, *v = c.v ? (uint8_t*)c.v + at : k;
        if (c.kind == KV_INT8) {
            out.key_scales[b] = block_scales(c, k);
            out.value_scales[b] = block_scales(c, v);
        }
        out.keys[b] = (const T*)k;
        out.values[b] = (const T*)v;
        if (direct) continue;
        // The same block of the next span is prefetched, if the sequence has one.
        int32_t following = first + SPAN < end ? table[(span + 1) * SPAN_BLOCKS + b] : -1;
        int64_t after = following < 0 ? at : (following * c.kv_heads + head) * bytes;
        if (!is_own_type<T>(c)) {
            WEFT_BY_KIND(c.kind, (convert_keys<T, KIND>(k, d, keys, (const uint8_t*)c.k + after)))
            out.keys[b] = keys;
        }
        out.values[b] = values;
        if (!c.v) {
            latent_values(out.keys[b], d - c.value_dim, c.value_dim, width, values, (const uint8_t*)c.k + after);
            continue;
        }
        WEFT_BY_KIND(c.kind, (convert_values<T, KIND>(v, d, width, values, (const uint8_t*)c.v + after)))
    }
}

}  // namespace paged
}  // namespace WEFT_NS
