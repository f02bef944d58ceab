// Packs a checkpoint's row-major matrices into panels (kernels.h), once, at load. The layout is the same for every ISA
// level.
#pragma once

#include <stdint.h>

// In place: rows of 32-bit units (a float, or a pair of 16-bit columns) become panels [n / 32][units][32].
// data: [n padded to a multiple of 32][units].
void pack_dense(uint32_t* data, int64_t n, int64_t units);

// codes [n][k] bytes -> packed codes of 4, 5, 6 or 8 bits. Rows from n to the next multiple of 64 get the code `zero`.
void pack_codes(const uint8_t* codes, int64_t n, int64_t k, int bits, int zero, uint8_t* out);

// codes [n][k] bytes, where 128 stands for zero -> W_S8's panels, and the sum of each row's numbers (code - 128). Rows
// and columns of the padding become zero. sums: [n padded to a multiple of 64].
void pack_integers(const uint8_t* codes, int64_t n, int64_t k, uint8_t* out, int32_t* sums);

// values [n][columns] of `size` bytes each -> [n / 32][columns][32]. Rows from n to the next multiple of 64 become
// zero.
void pack_scales(const void* values, int64_t n, int64_t columns, int size, void* out);
