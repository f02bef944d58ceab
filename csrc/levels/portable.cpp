// The kernels compiled for the level `portable`.
#define WEFT_NS weft_portable
#include "../gather.h"
#include "../linear.h"
#include "../moe.h"
#include "../act.h"

const Kernels* kernels_portable() {
    using namespace WEFT_NS;
    static const Kernels table = {"portable", W, BF16_PRODUCTS, linear, gather, moe,
                                  activation, table_rows, vector_function};
    return &table;
}
