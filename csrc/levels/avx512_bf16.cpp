// The kernels compiled for the level `avx512_bf16`.
#define WEFT_NS weft_avx512_bf16
#include "table.h"

const Kernels* kernels_avx512_bf16() { return WEFT_NS::table("avx512_bf16"); }
