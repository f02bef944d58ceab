// The kernels compiled for the level `portable`.
#define WEFT_NS weft_portable
#include "../gather.h"
#include "../linear.h"
#include "../moe.h"
#include "../norm.h"
#include "../qk.h"

const Kernels* kernels_portable() {
    using namespace WEFT_NS;
    static const Kernels table = {"portable", W, BF16_PRODUCTS, linear, gather, moe, norm, prepare_qk};
    return &table;
}
