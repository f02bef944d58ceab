// The kernels compiled for the level `avx2`.
#define WEFT_NS weft_avx2
#include "../attention.h"
#include "../gather.h"
#include "../linear.h"

const Kernels* kernels_avx2() {
    using namespace WEFT_NS;
    static const Kernels table = {"avx2", W, BF16_PRODUCTS, linear, gather, write_cache, attention};
    return &table;
}
