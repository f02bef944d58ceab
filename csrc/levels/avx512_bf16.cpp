// The kernels compiled for the level `avx512_bf16`.
#define WEFT_NS weft_avx512_bf16
#include "../gather.h"
#include "../linear.h"
#include "../moe.h"
#include "../act.h"

const Kernels* kernels_avx512_bf16() {
    using namespace WEFT_NS;
    static const Kernels table = {"avx512_bf16", W, BF16_PRODUCTS, linear, gather, moe,
                                  activation, table_rows, vector_function};
    return &table;
}
