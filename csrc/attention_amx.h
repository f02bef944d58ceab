// The two products of a span of 64 keys (q . k and p . v) on AMX tiles, 32 rows at a time, for a head_dim that is a
// multiple of 32.
//
// Tiles round sums differently from vectors, so a layer that can use tiles uses them for every row, even for a single
// one. Each row of a tile is summed separately: the other rows change no bit of it. The values of a span are copied
// together first (open_span), because a tile takes 32 keys and a block has 16.
#pragma once

#include "attention_tiles.h"

#if defined(WEFT_AMX)
#include "tiles.h"

namespace WEFT_NS {
namespace paged {

constexpr int AMX_UNIT = 32;

// out [rows][64] = q . keys, for at most 32 rows. q: [rows][d], contiguous.
static void amx_scores(int rows, const uint16_t* q, const Span<uint16_t>& span, int64_t d, float* out) {
    bool two = rows > 16;
    configure_tiles(two ? 16 : rows, two ? rows - 16 : 0);
    for (int b = 0; b < SPAN_BLOCKS; b += 2) {
        float* to = out + b * KV_BLOCK;
        WEFT_TILE_ZERO(0);
        WEFT_TILE_ZERO(1);
        if (two) {
            WEFT_TILE_ZERO(2);
            WEFT_TILE_ZERO(3);
        }
        for (int64_t k = 0; k < d; k += 32) {
            WEFT_TILE_LOAD(4, q + k, 2 * d);
            WEFT_TILE_LOAD(6, span.keys[b] + k * KV_BLOCK, 64);
            WEFT_TILE_LOAD(7, span.keys[b + 1] + k * KV_BLOCK, 64);
            WEFT_TILE_PRODUCT(0, 4, 6);
            WEFT_TILE_PRODUCT(1, 4, 7);
            if (!two) continue;
            WEFT_TILE_LOAD(5, q + 16 * d + k, 2 * d);
            WEFT_TILE_PRODUCT(2, 5, 6);
            WEFT_TILE_PRODUCT(3, 5, 7);
        }
        WEFT_TILE_STORE(0, to, 4 * SPAN);
        WEFT_TILE_STORE(1, to + KV_BLOCK, 4 * SPAN);
        if (!two) continue;
        WEFT_TILE_STORE(2, to + 16 * SPAN, 4 * SPAN);
        WEFT_TILE_STORE(3, to + 16 * SPAN + KV_BLOCK, 4 * SPAN);
    }
}

// out[r] [width] += p [rows][64] times the span's values, which lie together from values[0] on. Must follow amx_scores
// of the same rows, which configures the tiles.
static void amx_values(int rows, const uint16_t* p, const Span<uint16_t>& span, int64_t width, float* const* out) {
    bool two = rows > 16;
    alignas(64) float sums[AMX_UNIT * 32];
    for (int64_t from = 0; from < width; from += 32) {
        WEFT_TILE_ZERO(0);
        WEFT_TILE_ZERO(1);
        if (two) {
            WEFT_TILE_ZERO(2);
            WEFT_TILE_ZERO(3);
        }
        for (int key = 0; key < SPAN; key += 32) {
            const uint16_t* values = span.values[0] + key * width + 2 * from;
            WEFT_TILE_LOAD(4, p + key, 2 * SPAN);
            WEFT_TILE_LOAD(6, values, 4 * width);
            WEFT_TILE_LOAD(7, values + 32, 4 * width);
            WEFT_TILE_PRODUCT(0, 4, 6);
            WEFT_TILE_PRODUCT(1, 4, 7);
            if (!two) continue;
            WEFT_TILE_LOAD(5, p + 16 * SPAN + key, 2 * SPAN);
            WEFT_TILE_PRODUCT(2, 5, 6);
            WEFT_TILE_PRODUCT(3, 5, 7);
        }
        WEFT_TILE_STORE(0, sums, 128);
        WEFT_TILE_STORE(1, sums + 16, 128);
        if (two) {
            WEFT_TILE_STORE(2, sums + 16 * 32, 128);
            WEFT_TILE_STORE(3, sums + 16 * 32 + 16, 128);
        }
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < 32; i += W) store(out[r] + from + i, load(out[r] + from + i) + load(sums + r * 32 + i));
    }
    WEFT_TILE_RELEASE();
}

}  // namespace paged
}  // namespace WEFT_NS
#endif
