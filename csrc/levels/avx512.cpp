// The kernels compiled for the level `avx512`.
#define WEFT_NS weft_avx512
#include "../gather.h"
#include "../linear.h"
#include "../moe.h"
#include "../norm.h"
#include "../qk.h"

const Kernels* kernels_avx512() {
    using namespace WEFT_NS;
    static const Kernels table = {"avx512", W, BF16_PRODUCTS, linear, gather, moe, norm, prepare_qk};
    return &table;
}
