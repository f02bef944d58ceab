// The kernels compiled for the level `avx_vnni`.
#define WEFT_NS weft_avx_vnni
#include "table.h"

const Kernels* kernels_avx_vnni() { return WEFT_NS::table("avx_vnni"); }
