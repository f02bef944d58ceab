// The kernels compiled for the level `portable`.
#define WEFT_NS weft_portable
#include "table.h"

const Kernels* kernels_portable() { return WEFT_NS::table("portable"); }
