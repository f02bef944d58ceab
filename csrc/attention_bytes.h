// The two products of a span of 64 keys for up to UNIT rows, on a cache of 8-bit codes (quantized values). The codes
// become pairs of bfloat16 in registers. Each sum runs in the order of attention_tiles.h, so the result has the same
// bits as on a span that was converted to bfloat16 first.
#pragma once

#include "attention_tiles.h"

namespace WEFT_NS {
namespace paged {

// True if few rows read the cache where it lies, not latents: 8-bit codes for bfloat16 rows and products, pairs of any kind for rows
// of floats (attention_pairs.h), and a head_dim that fills whole vectors.
template <class T> WEFT_INLINE bool is_read_in_registers(const KvCache& c) {
    if (!c.v) return false;
    if (sizeof(T) == 4) return c.kind != KV_F32 && c.head_dim % 16 == 0;
    return BF16_PRODUCTS && kv_bytes(c.kind) == 1 && c.head_dim % 64 == 0;
}

#if defined(__AVX512BF16__)
typedef Steps<uint16_t> PairSteps;

// sums [MR][64] = x . keys. ahead: blocks that are prefetched meanwhile.
template <int MR>
static void byte_scores(const BytePairs& pairs, const uint16_t* const* x, const uint8_t* const* keys,
                        const uint8_t* const* ahead, int64_t d, float* sums) {
    constexpr int NV = MR <= 3 ? 4 : 2;  // blocks at once: the 16 keys of a block fill a vector
    for (int b = 0; b < SPAN_BLOCKS; b += NV) {
        VF acc[MR][NV];
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) acc[r][v] = zero();
        for (int64_t s = 0; s < d; s += 4)
            for (int v = 0; v < NV; v++) {
                fetch(ahead[b + v] + KV_BLOCK * s);
                __m512bh first, second;
                pairs.read(keys[b + v] + KV_BLOCK * s, first, second);
                for (int r = 0; r < MR; r++)
                    acc[r][v] = PairSteps::times(PairSteps::times(acc[r][v], first, PairSteps::each(x[r] + s)), second,
                                                 PairSteps::each(x[r] + s + 2));
            }
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) store(sums + r * SPAN + (b + v) * KV_BLOCK, acc[r][v]);
    }
}

// out[r] [d] += p [MR][64] times the span's values.
template <int MR>
static void weigh_byte_values(const BytePairs& pairs, const uint16_t* p, const uint8_t* const* values,
                              const uint8_t* const* ahead, int64_t d, float* const* out) {
    constexpr int NV = MR <= 3 ? 4 : 2;  // vectors at once, each of 16 dimensions
    for (int64_t from = 0; from < d; from += NV * W) {
        VF acc[MR][NV];
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) acc[r][v] = load(out[r] + from + v * W);
        for (int block = 0; block < SPAN_BLOCKS; block++)
            for (int s = 0; s < KV_BLOCK; s += 2) {
                const int64_t at = s * d + 2 * from;
                for (int v = 0; v < NV; v += 2) {
                    fetch(ahead[block] + at + 2 * v * W);
                    __m512bh first, second;
                    pairs.read(values[block] + at + 2 * v * W, first, second);
                    for (int r = 0; r < MR; r++) {
                        __m512bh weight = PairSteps::each(p + r * SPAN + block * KV_BLOCK + s);
                        acc[r][v] = PairSteps::times(acc[r][v], first, weight);
                        acc[r][v + 1] = PairSteps::times(acc[r][v + 1], second, weight);
                    }
                }
            }
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) store(out[r] + from + v * W, acc[r][v]);
    }
}

// As `scores` and `weigh_values`, for a span whose pointers lead to the cached bytes.
static void scores_of_bytes(const KvCache& c, int rows, const uint16_t* const* q, const Span<uint16_t>& span,
                            const Span<uint16_t>& ahead, float* sums) {
    const BytePairs pairs(byte_number(c.kind));
    WEFT_BY_ROW_COUNT(rows, UNIT,
                      (byte_scores<MR>(pairs, q, (const uint8_t* const*)span.keys, (const uint8_t* const*)ahead.keys,
                                       c.head_dim, sums)))
}
static void weigh_values_of_bytes(const KvCache& c, int rows, const uint16_t* p, const Span<uint16_t>& span,
                                  const Span<uint16_t>& ahead, float* const* out) {
    const BytePairs pairs(byte_number(c.kind));
    WEFT_BY_ROW_COUNT(rows, UNIT,
                      (weigh_byte_values<MR>(pairs, p, (const uint8_t* const*)span.values,
                                             (const uint8_t* const*)ahead.values, c.head_dim, out)))
}
#endif

}  // namespace paged
}  // namespace WEFT_NS
