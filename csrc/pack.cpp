// See pack.h.
#include "pack.h"

#include <string.h>

#include <vector>

#include "parallel.h"

namespace {
constexpr int PANEL = 32, GROUP = 64;
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

void pack_codes(const uint8_t* codes, int64_t n, int64_t k, int bits, int zero, uint8_t* out) {
    int64_t bytes = bits == 4 ? k / 2 * PANEL : k * PANEL;
    parallel_for(padded(n) / PANEL, 1, [&](int64_t p) {
        uint8_t* panel = out + p * bytes;
        for (int r = 0; r < PANEL; r++) {
            int64_t row = p * PANEL + r;
            const uint8_t* source = codes + row * k;
            for (int64_t i = 0; i < k / 2; i++) {
                uint8_t first = row < n ? source[2 * i] : (uint8_t)zero, second = row < n ? source[2 * i + 1] : (uint8_t)zero;
                if (bits == 4) panel[i * PANEL + r] = (uint8_t)(first | second << 4);
                else {
                    panel[2 * (i * PANEL + r)] = first;
                    panel[2 * (i * PANEL + r) + 1] = second;
                }
            }
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
