// A span of cached keys and values (four blocks of one head) as the tiles want it: where it lies, if it lies right, or
// converted into a scratch buffer.
#pragma once

#include "cache_write.h"

namespace WEFT_NS {
namespace paged {

constexpr int SPAN_BLOCKS = 4, SPAN = SPAN_BLOCKS * KV_BLOCK;

// T = uint16_t: pairs of bfloat16; keys [head_dim / 2][16][2], values [8][width][2], for each of the four blocks.
// T = float: keys [head_dim][16], values [16][width]. width: head_dim rounded up to 16, the rest 0.
template <class T> struct Span {
    const T *keys[SPAN_BLOCKS], *values[SPAN_BLOCKS];
    const float *key_scales[SPAN_BLOCKS], *value_scales[SPAN_BLOCKS];         // [16], only of KV_INT8
};

// What stands for blocks that no row sees: read as numbers, they are zeros.
alignas(64) static const uint8_t NO_BLOCK[KV_BLOCK * 256 * 4 + 64] = {};

// W pairs as two vectors: their first and second numbers.
WEFT_INLINE void read_pairs(int kind, const uint8_t* in, VF& first, VF& second) {
    if (kind == KV_BF16) {
        VU u;
        memcpy(&u, in, sizeof u);
        first = (VF)(u << 16);
        second = (VF)(u & 0xffff0000u);
        return;
    }
    VU lo, hi;
    if (kind == KV_F16) {
        VU u;
        memcpy(&u, in, sizeof u);
        lo = u & 0xffffu;
        hi = u >> 16;
    } else {
        VH h;
        memcpy(&h, in, sizeof h);
        VU u = widen(h);
        lo = u & 0xffu;
        hi = u >> 8;
        if (kind == KV_INT8) {
            first = __builtin_convertvector((VI)(lo << 24) >> 24, VF);
            second = __builtin_convertvector((VI)(hi << 24) >> 24, VF);
            return;
        }
        // As float16: its upper half for e5m2; for e4m3 the exponent counts from 8 less.
        if (kind == KV_E5M2) {
            lo = lo << 8;
            hi = hi << 8;
        } else {
            VU nan_lo = (VU)((lo & 0x7fu) == 0x7fu), nan_hi = (VU)((hi & 0x7fu) == 0x7fu);
            lo = ((lo & 0x80u) << 8) | ((lo & 0x7fu) << 7) | (nan_lo & 0x7c00u);
            hi = ((hi & 0x80u) << 8) | ((hi & 0x7fu) << 7) | (nan_hi & 0x7c00u);
        }
    }
    VH lo16 = narrow(lo), hi16 = narrow(hi);
    first = load_f16((const uint16_t*)&lo16);
    second = load_f16((const uint16_t*)&hi16);
    if (kind == KV_E4M3) {
        first = first * splat(256.0f);
        second = second * splat(256.0f);
    }
}

// n pairs (a multiple of W) for the tiles. 8 bits are exact in bfloat16.
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

template <class T, int KIND> static void convert_keys(const uint8_t* k, int64_t d, T* out) {
    if constexpr (KIND == KV_F32) memcpy(out, k, sizeof(float) * KV_BLOCK * d);
    else
        for (int64_t s = 0; s < d / 2; s++)
            convert(KIND, k + s * KV_BLOCK * 2 * kv_bytes(KIND), KV_BLOCK, out + s * 2 * KV_BLOCK, KV_BLOCK);
}
template <class T, int KIND> static void convert_values(const uint8_t* v, int64_t d, int64_t width, T* out) {
    constexpr bool same = KIND == (sizeof(T) == 2 ? KV_BF16 : KV_F32);
    constexpr int rows = KIND == KV_F32 ? KV_BLOCK : KV_BLOCK / 2;
    int64_t unit = (KIND == KV_F32 ? 1 : 2) * kv_bytes(KIND), whole = d / W * W;
    for (int s = 0; s < rows; s++) {
        const uint8_t* row = v + s * d * unit;
        T* to = out + s * (KV_BLOCK / rows) * width;
        if constexpr (same) memcpy(to, row, d * unit);
        else {
            convert(KIND, row, (int)whole, to, (int)width);
            if (whole == d) continue;
            uint8_t rest[W * 4] = {};
            memcpy(rest, row + whole * unit, (d - whole) * unit);
            convert(KIND, rest, W, to + (sizeof(T) == 2 ? 2 : 1) * whole, (int)width);
        }
    }
}

#define WEFT_BY_KIND(kind, call)                                                                                       \
    switch (kind) {                                                                                                    \
        case KV_F32: { constexpr int KIND = KV_F32; call; break; }                                                     \
        case KV_BF16: { constexpr int KIND = KV_BF16; call; break; }                                                   \
        case KV_F16: { constexpr int KIND = KV_F16; call; break; }                                                     \
        case KV_E4M3: { constexpr int KIND = KV_E4M3; call; break; }                                                   \
        case KV_E5M2: { constexpr int KIND = KV_E5M2; call; break; }                                                   \
        default: { constexpr int KIND = KV_INT8; call; break; }                                                        \
    }

// A cache's number type is the tiles' own: keys need no conversion, nor do values whose rows are whole vectors.
template <class T> WEFT_INLINE bool is_own_type(const KvCache& c) {
    return c.kind == (sizeof(T) == 2 ? KV_BF16 : KV_F32);
}

// The span's blocks of `head`, used where they lie if `direct`. table: the sequence's blocks. Only keys in [begin, end)
// are seen by anyone: blocks without any are not looked at. scratch: 2 * SPAN * width of T, for blocks converted into
// one piece.
template <class T>
static void open_span(const KvCache& c, bool direct, int64_t head, const int32_t* table, int64_t span, int64_t begin,
                      int64_t end, T* scratch, Span<T>& out) {
    int64_t bytes = block_bytes(c), d = c.head_dim, width = (d + 15) / 16 * 16;
    for (int b = 0; b < SPAN_BLOCKS; b++) {
        int64_t first = (span * SPAN_BLOCKS + b) * KV_BLOCK;
        bool seen = first < end && first + KV_BLOCK > begin;
        T *keys = scratch + b * KV_BLOCK * width, *values = keys + SPAN * width;
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
        uint8_t *k = (uint8_t*)c.k + at, *v = (uint8_t*)c.v + at;
        if (c.kind == KV_INT8) {
            out.key_scales[b] = block_scales(c, k);
            out.value_scales[b] = block_scales(c, v);
        }
        out.keys[b] = (const T*)k;
        out.values[b] = (const T*)v;
        if (direct) continue;
        if (!is_own_type<T>(c)) {
            WEFT_BY_KIND(c.kind, (convert_keys<T, KIND>(k, d, keys)))
            out.keys[b] = keys;
        }
        WEFT_BY_KIND(c.kind, (convert_values<T, KIND>(v, d, width, values)))
        out.values[b] = values;
    }
}

}  // namespace paged
}  // namespace WEFT_NS
