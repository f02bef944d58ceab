// See pack.h.
#include "pack.h"

#include <string.h>

#include <vector>

#include "kernels.h"
#include "limits.h"
#include "parallel.h"

namespace {
int64_t padded(int64_t n) { return (n + GROUP - 1) / GROUP * GROUP; }
}  // namespace

template <class Unit> static void pack_panels(Unit* data, int64_t n, int64_t units) {
    parallel_for((n + PANEL - 1) / PANEL, 1, [&](int64_t p) {
        Unit* panel = data + p * PANEL * units;
        std::vector<Unit> rows(panel, panel + PANEL * units);
        for (int64_t u0 = 0; u0 < units; u0 += 16)
            for (int r = 0; r < PANEL; r++)
                for (int64_t u = u0; u < units && u < u0 + 16; u++) panel[u * PANEL + r] = rows[r * units + u];
    });
}

void pack_dense(void* data, int64_t n, int64_t units, int size) {
    if (size == 2) pack_panels((uint16_t*)data, n, units);
    else pack_panels((uint32_t*)data, n, units);
}

// Columns and bytes of a unit of codes (kernels.h).
static int64_t unit_columns(int kind) { return kind == W_Q4 ? 8 : kind == W_Q5 ? 32 : kind == W_Q6 ? 16 : 4; }
static int64_t unit_bytes(int kind) { return kind == W_Q5 ? 640 : kind == W_Q6 ? 384 : 128; }

// Packs row r's codes of a unit.
static void pack_unit(const uint8_t* codes, int kind, int zero, int r, uint8_t* unit) {
    if (kind == W_Q8) {
        for (int i = 0; i < 4; i++) {
            int v = codes[i] - zero;
            unit[r / 4 * 16 + i / 2 * 8 + r % 4 * 2 + i % 2] = (uint8_t)(v < 0 ? 128 | -v : v);
        }
    } else if (kind == W_Q4) {
        uint16_t halves[2] = {};
        for (int i = 0; i < 8; i++) halves[i % 2] |= (uint16_t)((codes[i] & 15) << i / 2 * 4);
        memcpy(unit + 4 * r, halves, 4);
    } else {
        const int columns = (int)unit_columns(kind), bits = kind - W_Q4;
        uint8_t bytes[5][4] = {};  // the words: low bits, then high bits
        for (int i = 0; i < columns; i++) {
            const int q = i / 4, byte = i % 2 * 2 + i / 2 % 2;
            if (kind == W_U8) bytes[0][byte] = codes[i];
            else {
                bytes[q / 2][byte] |= (uint8_t)((codes[i] & 15) << q % 2 * 4);
                bytes[columns / 8][byte] |= (uint8_t)((codes[i] >> 4) << bits * q);
            }
        }
        for (int word = 0; word < unit_bytes(kind) / 128; word++) memcpy(unit + 128 * word + 4 * r, bytes[word], 4);
    }
}

void pack_codes(const uint8_t* codes, int64_t n, int64_t k, int kind, int zero, uint8_t* out) {
    const int64_t columns = unit_columns(kind), size = unit_bytes(kind);
    uint8_t zeros[32];
    memset(zeros, zero, sizeof zeros);
    parallel_for(padded(n) / PANEL, 1, [&](int64_t p) {
        uint8_t* panel = out + p * (k / columns) * size;
        for (int64_t u = 0; u < k / columns; u++)
            for (int r = 0; r < PANEL; r++) {
                int64_t row = p * PANEL + r;
                pack_unit(row < n ? codes + row * k + u * columns : zeros, kind, zero, r, panel + u * size);
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
