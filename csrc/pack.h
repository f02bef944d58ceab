// Packs a checkpoint's row-major matrices into panels (kernels.h), once, at load. Only codes of 8 bits
// have two layouts, for levels with and without products of bfloat16.
#pragma once

#include <stdint.h>

// In place: rows of units of `size` bytes, 4 (a float, or a pair of bfloat16 columns) or 2 (a float16), become panels
// [n / 32][units][32]. data: [n padded to a multiple of 32][units].
void pack_dense(void* data, int64_t n, int64_t units, int size);

// codes [n][k] bytes -> packed codes of a kind: W_Q4, W_Q5, W_Q6, W_U8 or W_Q8. Rows from n to the next multiple of 64
// get the code `zero`.
void pack_codes(const uint8_t* codes, int64_t n, int64_t k, int kind, int zero, uint8_t* out);

// codes [n][k] bytes, where 128 stands for zero -> W_S8's panels, and the sum of each row's numbers (code - 128). Rows
// and columns of the padding become zero. sums: [n padded to a multiple of 64].
void pack_integers(const uint8_t* codes, int64_t n, int64_t k, uint8_t* out, int32_t* sums);

// values [n][columns] of `size` bytes each -> [n / 32][columns][32]. Rows from n to the next multiple of 64 become
// zero.
void pack_scales(const void* values, int64_t n, int64_t columns, int size, void* out);
