// The kernels compiled for the level `portable`.
#define WEFT_NS weft_portable
#include "../attention.h"
#include "../gather.h"
#include "../linear.h"

const Kernels* kernels_portable() {
    using namespace WEFT_NS;
    static const Kernels table = {"portable", W, BF16_PRODUCTS, linear, gather, write_cache, attention};
    return &table;
}
