// The Python module `weft._native`: tables of kernels by level. Takes addresses as integers; weft/ops checks them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "kernels.h"
#include "pack.h"
#include "parallel.h"

namespace nb = nanobind;

namespace {

template <class T> T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

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

Weight weight(int kind, int64_t n, int64_t k, uintptr_t data, int zero, int64_t group, int scale_kind, uintptr_t scales,
              uintptr_t offsets, int64_t groups_per_super, uintptr_t super_scales, uintptr_t super_offsets) {
    return {kind, n, k, at<void>(data), zero, group, scale_kind, at<void>(scales), at<void>(offsets), groups_per_super,
            at<uint16_t>(super_scales), at<uint16_t>(super_offsets)};
}

}  // namespace

NB_MODULE(_native, m) {
    nb::class_<Weight>(m, "Weight");
    m.def("weight", &weight);
    m.def("set_num_threads", [](int n) {
#ifdef _OPENMP
        omp_set_num_threads(n);
#endif
    });
    m.def("pack_dense", [](uintptr_t data, int64_t n, int64_t units) { pack_dense(at<uint32_t>(data), n, units); });
    m.def("pack_codes", [](uintptr_t codes, int64_t n, int64_t k, int bits, int zero, uintptr_t out) {
        pack_codes(at<uint8_t>(codes), n, k, bits, zero, at<uint8_t>(out));
    });
    m.def("pack_scales", [](uintptr_t values, int64_t n, int64_t columns, int size, uintptr_t out) {
        pack_scales(at<void>(values), n, columns, size, at<void>(out));
    });
    m.def("gather_rows", [](uintptr_t data, int64_t units, uintptr_t ids, int64_t count, uintptr_t out) {
        gather_rows(at<uint32_t>(data), units, at<int64_t>(ids), count, at<uint32_t>(out));
    });
    nb::class_<Kernels>(m, "Kernels")
        .def_prop_ro("name", [](const Kernels& k) { return std::string(k.name); })
        .def_ro("lanes", &Kernels::lanes)
        .def("linear",
             [](const Kernels& kernels, const Weight& w, uintptr_t x, int x_dtype, int64_t m, int64_t x_stride,
                uintptr_t bias, int act, bool gated, uintptr_t residual, int64_t residual_stride, float alpha,
                uintptr_t out, int out_dtype, int64_t out_stride) {
                 nb::gil_scoped_release unlocked;
                 kernels.linear({&w, at<void>(x), x_dtype, m, x_stride, at<float>(bias), act, gated, at<void>(residual),
                                 residual_stride, alpha, at<void>(out), out_dtype, out_stride, nullptr});
             });
    m.def("kernels", &find, nb::rv_policy::reference);
}
