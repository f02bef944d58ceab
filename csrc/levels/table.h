// The table of one level's kernels. The including file names WEFT_NS.
#pragma once

#include "../attention.h"
#include "../gather.h"
#include "../linear.h"
#include "../moe.h"
#include "../norm.h"
#include "../qk.h"

namespace WEFT_NS {

static const Kernels* table(const char* name) {
    static const Kernels kernels = {name, W, BF16_PRODUCTS, linear, gather, moe, norm, prepare_qk, write_cache,
                                    attention};
    return &kernels;
}

}  // namespace WEFT_NS
