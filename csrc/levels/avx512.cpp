// The kernels compiled for the level `avx512`.
#define WEFT_NS weft_avx512
#include "table.h"

const Kernels* kernels_avx512() { return WEFT_NS::table("avx512"); }
