// Latent caches: a cached row is a key whose last numbers are also its value, and blocks of keys are all that is stored
// (KvCache without v). Values are laid out for the products of a span as the span is opened.
#pragma once

#include "cache_write.h"

namespace WEFT_NS {
namespace paged {

// Lays out the values of a block: numbers [first, first + n) of its keys, in the layouts that cache_read.h gives spans.
// width: n rounded up to 16; the rest becomes 0. ahead: as many bytes to prefetch meanwhile as the keys have.
static void latent_values(const float* keys, int64_t first, int64_t n, int64_t width, float* out,
                          const uint8_t* ahead) {
    for (int64_t i = 0; i < (first + n) * KV_BLOCK; i += 16) fetch(ahead + i * sizeof(float));
    const float* in = keys + first * KV_BLOCK;
    for (int t = 0; t < KV_BLOCK; t++) {
        for (int64_t i = 0; i < n; i++) out[t * width + i] = in[i * KV_BLOCK + t];
        for (int64_t i = n; i < width; i++) out[t * width + i] = 0;
    }
}

#if defined(__AVX512BF16__)
// Transposes eight vectors of eight 64-bit words.
WEFT_INLINE void transpose_words(__m512i v[8]) {
    __m512i a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm512_unpacklo_epi64(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi64(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            b[i + j] = _mm512_shuffle_i64x2(a[i + j], a[i + 2 + j], 0x88);
            b[i + 2 + j] = _mm512_shuffle_i64x2(a[i + j], a[i + 2 + j], 0xdd);
        }
    for (int j = 0; j < 2; j++) {
        v[j] = _mm512_shuffle_i64x2(b[j], b[4 + j], 0x88);
        v[4 + j] = _mm512_shuffle_i64x2(b[j], b[4 + j], 0xdd);
        v[2 + j] = _mm512_shuffle_i64x2(b[2 + j], b[6 + j], 0x88);
        v[6 + j] = _mm512_shuffle_i64x2(b[2 + j], b[6 + j], 0xdd);
    }
}

// A 64-bit word of the keys holds two dimensions of two tokens. Swapping its two middle numbers makes it a word of the
// values, so what remains is a transposition of words.
static void latent_values(const uint16_t* keys, int64_t first, int64_t n, int64_t width, uint16_t* out,
                          const uint8_t* ahead) {
    const uint16_t* in = keys + first * KV_BLOCK;
    for (int64_t i = 0; i < first * KV_BLOCK; i += 32) fetch(ahead + i * sizeof(uint16_t));
    ahead += first * KV_BLOCK * sizeof(uint16_t);
    const __m512i swap = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i v[8];
        for (int p = 0; p < 8; p++) {
            fetch(ahead + (i + 2 * p) * KV_BLOCK * sizeof(uint16_t));
            v[p] = _mm512_shuffle_epi8(_mm512_loadu_si512(in + (i + 2 * p) * KV_BLOCK), swap);
        }
        transpose_words(v);
        for (int s = 0; s < 8; s++) _mm512_storeu_si512(out + 2 * (s * width + i), v[s]);
    }
    for (; i < width; i++)
        for (int t = 0; t < KV_BLOCK; t++)
            out[(t / 2 * width + i) * 2 + t % 2] = i < n ? in[i / 2 * 2 * KV_BLOCK + 2 * t + i % 2] : 0;
}
#endif

}  // namespace paged
}  // namespace WEFT_NS
