// See pack.h.
#include "pack.h"

#include <string.h>

#include <vector>

#include "limits.h"
#include "parallel.h"

namespace {
int64_t padded(int64_t n) { return (n + GROUP - 1) / GROUP * GROUP; }
}  // namespace

void pack_dense(uint32_t* data, int64_t n, int64_t units) {
    parallel_for((n + PANEL - 1) / PANEL, 1, [&](int64_t p) {
        uint32_t* panel = data + p * PANEL * units;
        std::vector<uint32_t> rows(panel, panel + PANEL * units);
        for (int64_t u0 = 0; u0 < units; u0 += 16)
            for (int r = 0; r < PANEL; r++)
                for (int64_t u = u0; u < units && u < u0 + 16; u++) panel[u * PANEL + r] = rows[r * units + u];
    });
}

// Packs one row's codes of a unit of columns (kernels.h): 8 codes of 4 bits, 16 of 5 or 6 bits, 4 of 8 bits.
static void pack_unit(const uint8_t* codes, int bits, int zero, int r, uint8_t* unit) {
    if (bits == 8) {
        for (int i = 0; i < 4; i++) {
            int v = codes[i] - zero;
            unit[r / 4 * 16 + i / 2 * 8 + r % 4 * 2 + i % 2] = (uint8_t)(v < 0 ? 128 | -v : v);
        }
        return;
    }
    uint16_t low[2][2] = {}, high[2] = {};
    for (int i = 0; i < (bits == 4 ? 8 : 16); i++) {
        low[i / 8][i % 2] |= (uint16_t)((codes[i] & 15) << i % 8 / 2 * 4);
        high[i % 2] |= (uint16_t)((codes[i] >> 4) << i / 2 * (bits - 4));
    }
    memcpy(unit + 4 * r, low[0], 4);
    if (bits == 4) return;
    memcpy(unit + 128 + 4 * r, low[1], 4);
    if (bits == 6) memcpy(unit + 256 + 4 * r, high, 4);
    else {
        unit[256 + 2 * r] = (uint8_t)high[0];
        unit[256 + 2 * r + 1] = (uint8_t)high[1];
    }
}

void pack_codes(const uint8_t* codes, int64_t n, int64_t k, int bits, int zero, uint8_t* out) {
    const int64_t columns = bits == 8 ? 4 : bits == 4 ? 8 : 16, size = columns * PANEL * bits / 8;
    uint8_t zeros[16];
    memset(zeros, zero, sizeof zeros);
    parallel_for(padded(n) / PANEL, 1, [&](int64_t p) {
        uint8_t* panel = out + p * (k / columns) * size;
        for (int64_t u = 0; u < k / columns; u++)
            for (int r = 0; r < PANEL; r++) {
                int64_t row = p * PANEL + r;
                pack_unit(row < n ? codes + row * k + u * columns : zeros, bits, zero, r, panel + u * size);
            }
    });
}

void pack_integers(const uint8_t* codes, int64_t n, int64_t k, uint8_t* out, int32_t* sums) {
    const int64_t size = integer_columns(k) * PANEL;
    parallel_for(padded(n) / PANEL, 1, [&](int64_t p) {
        uint8_t* panel = out + p * size;
        memset(panel, 0, size);
        for (int r = 0; r < PANEL; r++) {
            int64_t row = p * PANEL + r;
            int32_t sum = 0;
            for (int64_t c = 0; row < n && c < k; c++) {
                int v = codes[row * k + c] - 128;
                panel[c / 4 * 128 + 4 * r + c % 4] = (uint8_t)v;
                sum += v;
            }
            sums[row] = sum;
        }
    });
}

void pack_scales(const void* values, int64_t n, int64_t columns, int size, void* out) {
    const char* from = (const char*)values;
    char* to = (char*)out;
    parallel_for(padded(n) / PANEL, 8, [&](int64_t p) {
        for (int r = 0; r < PANEL; r++)
            for (int64_t g = 0; g < columns; g++) {
                char* target = to + ((p * columns + g) * PANEL + r) * size;
                int64_t row = p * PANEL + r;
                if (row < n) memcpy(target, from + (row * columns + g) * size, size);
                else memset(target, 0, size);
            }
    });
}
