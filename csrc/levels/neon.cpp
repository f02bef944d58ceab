// The kernels compiled for the level `neon`.
#define WEFT_NS weft_neon
#include "table.h"

const Kernels* kernels_neon() { return WEFT_NS::table("neon"); }
