// The table of one ISA level's kernels. The including file defines WEFT_NS, the level's namespace.
#pragma once

#include "../act.h"
#include "../attention.h"
#include "../conv.h"
#include "../gated_delta.h"
#include "../gather.h"
#include "../integer_product.h"
#include "../linear.h"
#include "../mamba.h"
#include "../moe.h"
#include "../norm.h"
#include "../qk.h"
#include "../sampling.h"

namespace WEFT_NS {

static const Kernels* table(const char* name) {
    static const Kernels kernels = {name,      BF16_PRODUCTS, linear,       gather,         moe,
                                    norm,      add_norm,      transform_qk, rotate,         write_cache,
                                    attention, activation,    table_rows,   draw,           report,
                                    conv,      gated_delta,   mamba,        vector_function};
    return &kernels;
}

}  // namespace WEFT_NS
