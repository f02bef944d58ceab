// Products of bfloat16 and of 8-bit integers on AMX tiles. Processors without tiles test the same code on an emulation.
//
// A panel is two tiles of 16 columns; 32 rows of x are two tiles of 16 rows. Each row of a tile is summed separately,
// 64 bytes of x at a time, so a row's result does not depend on the other rows. Source of the tile operations: Intel 64
// and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS and TDPBSSD.
#pragma once

#include "simd.h"

namespace WEFT_NS {

#if defined(WEFT_EMULATED_TILES)

struct EmulatedTile {
    int rows, bytes;
    alignas(64) uint8_t data[16][64];
};
static thread_local EmulatedTile emulated_tiles[8];

WEFT_INLINE void emulated_load(int t, const void* p, int64_t stride) {
    EmulatedTile& tile = emulated_tiles[t];
    memset(tile.data, 0, sizeof tile.data);
    for (int r = 0; r < tile.rows; r++) memcpy(tile.data[r], (const char*)p + r * stride, tile.bytes);
}
WEFT_INLINE void emulated_store(int t, void* p, int64_t stride) {
    const EmulatedTile& tile = emulated_tiles[t];
    for (int r = 0; r < tile.rows; r++) memcpy((char*)p + r * stride, tile.data[r], tile.bytes);
}
static void emulated_product(int c, int a, int b) {
    EmulatedTile &sum = emulated_tiles[c], &x = emulated_tiles[a], &w = emulated_tiles[b];
    for (int r = 0; r < sum.rows; r++)
        for (int k = 0; k < x.bytes / 4; k++)
            for (int n = 0; n < sum.bytes / 4; n++) {
                const uint16_t *pair = (const uint16_t*)x.data[r] + 2 * k, *column = (const uint16_t*)w.data[k] + 2 * n;
                float* s = (float*)sum.data[r] + n;
                *s += bf16_to_float(pair[0]) * bf16_to_float(column[0]);
                *s += bf16_to_float(pair[1]) * bf16_to_float(column[1]);
            }
}
static void emulated_integers(int c, int a, int b) {
    EmulatedTile &sum = emulated_tiles[c], &x = emulated_tiles[a], &w = emulated_tiles[b];
    for (int r = 0; r < sum.rows; r++)
        for (int k = 0; k < x.bytes; k++)
            for (int n = 0; n < sum.bytes / 4; n++)
                ((int32_t*)sum.data[r])[n] += (int8_t)x.data[r][k] * (int8_t)w.data[k / 4][4 * n + k % 4];
}
WEFT_INLINE void emulated_config(const uint8_t* config) {
    for (int t = 0; t < 8; t++) {
        uint16_t bytes;
        memcpy(&bytes, config + 16 + 2 * t, 2);
        emulated_tiles[t].rows = config[48 + t];
        emulated_tiles[t].bytes = bytes;
    }
}
#define WEFT_TILE_CONFIG(p) emulated_config(p)
#define WEFT_TILE_ZERO(t) memset(emulated_tiles[t].data, 0, sizeof emulated_tiles[t].data)
#define WEFT_TILE_LOAD(t, p, stride) emulated_load(t, p, stride)
#define WEFT_TILE_STORE(t, p, stride) emulated_store(t, p, stride)
#define WEFT_TILE_PRODUCT(c, a, b) emulated_product(c, a, b)
#define WEFT_TILE_INTEGERS(c, a, b) emulated_integers(c, a, b)
#define WEFT_TILE_RELEASE()

#else

#define WEFT_TILE_CONFIG(p) _tile_loadconfig(p)
#define WEFT_TILE_ZERO(t) _tile_zero(t)
#define WEFT_TILE_LOAD(t, p, stride) _tile_loadd(t, p, stride)
#define WEFT_TILE_STORE(t, p, stride) _tile_stored(t, p, stride)
#define WEFT_TILE_PRODUCT(c, a, b) _tile_dpbf16ps(c, a, b)
#define WEFT_TILE_INTEGERS(c, a, b) _tile_dpbssd(c, a, b)
#define WEFT_TILE_RELEASE() _tile_release()

#endif

// Tiles 0 to 3 hold sums (rows by columns), 4 and 5 rows of x, 6 and 7 columns of the panel. first_rows, second_rows:
// rows in the two tiles of x.
WEFT_INLINE void configure_tiles(int first_rows, int second_rows) {
    alignas(64) uint8_t config[64] = {1};  // palette 1
    const int rows[8] = {first_rows, first_rows, second_rows, second_rows, first_rows, second_rows, 16, 16};
    for (int t = 0; t < 8; t++) {
        uint16_t bytes = rows[t] ? 64 : 0;
        memcpy(config + 16 + 2 * t, &bytes, 2);
        config[48 + t] = (uint8_t)rows[t];
    }
    WEFT_TILE_CONFIG(config);
}

// Tile c += tile a times tile b, whose 32-bit words are pairs of bfloat16 or four 8-bit integers, by the size of T.
#define WEFT_TILES_TIMES(c, a, b)                                                                                      \
    if constexpr (sizeof(T) == 2) WEFT_TILE_PRODUCT(c, a, b);                                                          \
    else WEFT_TILE_INTEGERS(c, a, b);

// One panel times up to 16 rows (TWO false) or 17 to 32 (TWO true). x: rows `stride` bytes apart, of which `size` bytes
// are multiplied. panel: from the first of these columns on, 128 bytes for each 4 bytes of x. sums: floats or integers,
// rows 256 bytes apart; fresh: they begin with 0.
template <class T, bool TWO, class Sum>
static void tile_panel(const uint8_t* x, int64_t stride, const uint8_t* panel, int64_t size, Sum* sums, bool fresh) {
    Sum* second = sums + 16 * 64;
    if (fresh) {
        WEFT_TILE_ZERO(0);
        WEFT_TILE_ZERO(1);
        if (TWO) {
            WEFT_TILE_ZERO(2);
            WEFT_TILE_ZERO(3);
        }
    } else {
        WEFT_TILE_LOAD(0, sums, 256);
        WEFT_TILE_LOAD(1, sums + 16, 256);
        if (TWO) {
            WEFT_TILE_LOAD(2, second, 256);
            WEFT_TILE_LOAD(3, second + 16, 256);
        }
    }
    for (int64_t k = 0; k < size; k += 64) {
        const uint8_t* pairs = panel + k / 4 * 128;
        WEFT_TILE_LOAD(4, x + k, stride);
        WEFT_TILE_LOAD(6, pairs, 128);
        WEFT_TILE_LOAD(7, pairs + 64, 128);
        WEFT_TILES_TIMES(0, 4, 6)
        WEFT_TILES_TIMES(1, 4, 7)
        if (TWO) {
            WEFT_TILE_LOAD(5, x + 16 * stride + k, stride);
            WEFT_TILES_TIMES(2, 5, 6)
            WEFT_TILES_TIMES(3, 5, 7)
        }
    }
    WEFT_TILE_STORE(0, sums, 256);
    WEFT_TILE_STORE(1, sums + 16, 256);
    if (TWO) {
        WEFT_TILE_STORE(2, second, 256);
        WEFT_TILE_STORE(3, second + 16, 256);
    }
}

constexpr int TILE_BYTES = 4096;  // most bytes of a row of x in one call

// Rows of x times columns [k0, k1) of panels a and b, added to sums [rows][64]. x: pointers to rows, anywhere in
// memory. The columns are a multiple of 64 bytes of a row of x, and at most TILE_BYTES. fresh: sums begin with 0.
template <class T, class Sum>
static void tiles_rows(const T* const* x, int64_t rows, const uint8_t* a, const uint8_t* b, int64_t k0, int64_t k1,
                       Sum* sums, bool fresh) {
    const int64_t size = (int64_t)sizeof(T) * (k1 - k0);
    for (int64_t r = 0; r < rows; r += 32) {
        int count = rows - r < 32 ? (int)(rows - r) : 32, first = count < 16 ? count : 16;
        const uint8_t* start = (const uint8_t*)(x[r] + k0);
        int64_t stride = count > 1 ? (const uint8_t*)x[r + 1] - (const uint8_t*)x[r] : 64;
        bool is_regular = true;
        for (int i = 1; i < count; i++) is_regular &= (const uint8_t*)(x[r + i] + k0) == start + i * stride;
        alignas(64) uint8_t copy[32 * TILE_BYTES];
        if (!is_regular) {
            stride = size;
            for (int i = 0; i < count; i++) memcpy(copy + i * stride, x[r + i] + k0, stride);
            start = copy;
        }
        configure_tiles(first, count - first);
        for (int half = 0; half < 2; half++) {
            Sum* target = sums + r * 64 + half * 32;
            if (count > 16) tile_panel<T, true>(start, stride, half ? b : a, size, target, fresh);
            else tile_panel<T, false>(start, stride, half ? b : a, size, target, fresh);
        }
    }
    WEFT_TILE_RELEASE();
}

}  // namespace WEFT_NS
