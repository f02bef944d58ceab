// The kernels compiled for the level `avx2`.
#define WEFT_NS weft_avx2
#include "table.h"

const Kernels* kernels_avx2() { return WEFT_NS::table("avx2"); }
