// The kernels compiled for the level `amx`.
#define WEFT_NS weft_amx
#include "../gather.h"
#include "../linear.h"
#include "../moe.h"
#include "../norm.h"
#include "../qk.h"

const Kernels* kernels_amx() {
    using namespace WEFT_NS;
    static const Kernels table = {"amx", W, BF16_PRODUCTS, linear, gather, moe, norm, prepare_qk};
    return &table;
}
