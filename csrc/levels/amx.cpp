// The kernels compiled for the level `amx`.
#define WEFT_NS weft_amx
#define WEFT_AMX
#include "table.h"

const Kernels* kernels_amx() { return WEFT_NS::table("amx"); }
