// The kernels compiled for the level `amx_emulated`: `amx` with its tiles computed by ordinary instructions, for tests.
#define WEFT_NS weft_amx_emulated
#define WEFT_AMX
#define WEFT_EMULATED_TILES
#include "table.h"

const Kernels* kernels_amx_emulated() { return WEFT_NS::table("amx_emulated"); }
