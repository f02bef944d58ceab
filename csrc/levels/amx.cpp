// The kernels compiled for the level `amx`.
#define WEFT_NS weft_amx
#include "../attention.h"
#include "../gather.h"
#include "../linear.h"

const Kernels* kernels_amx() {
    using namespace WEFT_NS;
    static const Kernels table = {"amx", W, BF16_PRODUCTS, linear, gather, write_cache, attention};
    return &table;
}
