// The kernels compiled for the level `neon_i8mm`.
#define WEFT_NS weft_neon_i8mm
#include "table.h"

const Kernels* kernels_neon_i8mm() { return WEFT_NS::table("neon_i8mm"); }
