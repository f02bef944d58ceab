// The kernels compiled for the level `avx2`.
#define WEFT_NS weft_avx2
#include "../gather.h"
#include "../linear.h"
#include "../moe.h"
#include "../norm.h"
#include "../qk.h"

const Kernels* kernels_avx2() {
    using namespace WEFT_NS;
    static const Kernels table = {"avx2", W, BF16_PRODUCTS, linear, gather, moe, norm, prepare_qk};
    return &table;
}
