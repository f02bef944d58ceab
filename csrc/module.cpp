// The Python module `weft._native`: tables of kernels by level. Takes addresses as integers; weft/ops checks them.
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "bindings.h"
#include "parallel.h"

namespace nb = nanobind;

namespace {

// Throws for a level that this binary was not built with.
const Kernels* find(const std::string& level) {
    if (level == "portable") return kernels_portable();
#if defined(WEFT_X86)
    if (level == "avx2") return kernels_avx2();
    if (level == "avx512") return kernels_avx512();
    if (level == "avx512_bf16") return kernels_avx512_bf16();
    if (level == "amx") return kernels_amx();
#endif
    throw std::invalid_argument("this build has no kernels for " + level);
}

}  // namespace

NB_MODULE(_native, m) {
    auto kernels = nb::class_<Kernels>(m, "Kernels")
                       .def_prop_ro("name", [](const Kernels& k) { return std::string(k.name); })
                       .def_ro("lanes", &Kernels::lanes)
                       .def_ro("bf16_products", &Kernels::bf16_products);
    bind_linear(m, kernels);
    bind_attention(m, kernels);
    m.def("kernels", &find, nb::rv_policy::reference);
}
