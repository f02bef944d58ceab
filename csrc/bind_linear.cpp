// Bindings of packed matrices: packing, products with them, reading their rows.
#include <string.h>

#include "bindings.h"
#include "pack.h"

namespace nb = nanobind;

namespace {

Weight weight(int kind, int64_t n, int64_t k, uintptr_t data, int zero, int64_t group, int scale_kind, uintptr_t scales,
              uintptr_t offsets, int64_t groups_per_super, uintptr_t super_scales, uintptr_t super_offsets,
              uintptr_t code_sums, const Nodes* nodes, bool int8_activations) {
    Weight w = {kind,
                n,
                k,
                at<void>(data),
                zero,
                group,
                scale_kind,
                at<void>(scales),
                at<void>(offsets),
                groups_per_super,
                at<uint16_t>(super_scales),
                at<uint16_t>(super_offsets),
                at<int32_t>(code_sums),
                {},
                int8_activations,
                nodes};
    for (int i = 0; i < 64; i++) {
        float number = (float)((kind == W_Q4 ? i & 15 : i) - zero);
        uint32_t bits;
        memcpy(&bits, &number, 4);
        w.numbers[i] = (uint16_t)(bits >> 16);  // exact: at most 7 bits of mantissa
    }
    return w;
}

}  // namespace

void bind_linear(nb::module_& m, nb::class_<Kernels>& kernels) {
    nb::class_<Weight>(m, "Weight");
    m.def("weight", &weight, nb::arg("kind"), nb::arg("n"), nb::arg("k"), nb::arg("data"), nb::arg("zero") = 0,
          nb::arg("group") = 0, nb::arg("scale_kind") = 0, nb::arg("scales") = 0, nb::arg("offsets") = 0,
          nb::arg("groups_per_super") = 1, nb::arg("super_scales") = 0, nb::arg("super_offsets") = 0,
          nb::arg("code_sums") = 0, nb::arg("nodes") = nb::none(), nb::arg("int8_activations") = false,
          nb::keep_alive<0, 14>());
    m.def("pack_dense",
          [](uintptr_t data, int64_t n, int64_t units, int size) { pack_dense(at<void>(data), n, units, size); });
    m.def("pack_codes", [](uintptr_t codes, int64_t n, int64_t k, int kind, int zero, uintptr_t out) {
        pack_codes(at<uint8_t>(codes), n, k, kind, zero, at<uint8_t>(out));
    });
    m.def("pack_integers", [](uintptr_t codes, int64_t n, int64_t k, uintptr_t out, uintptr_t sums) {
        pack_integers(at<uint8_t>(codes), n, k, at<uint8_t>(out), at<int32_t>(sums));
    });
    m.def("pack_scales", [](uintptr_t values, int64_t n, int64_t columns, int size, uintptr_t out) {
        pack_scales(at<void>(values), n, columns, size, at<void>(out));
    });
    kernels
        .def("linear",
             [](const Kernels& k, const Weight& w, uintptr_t x, int x_dtype, int64_t m, int64_t x_stride,
                uintptr_t bias, int act, bool gated, uintptr_t residual, int64_t residual_stride, float alpha,
                uintptr_t out, int out_dtype, int64_t out_stride) {
        nb::gil_scoped_release unlocked;
        run_kernel([=, linear = k.linear, &w] {
            linear({&w, at<void>(x), x_dtype, m, x_stride, at<float>(bias), act, gated, at<void>(residual),
                    residual_stride, alpha, at<void>(out), out_dtype, out_stride});
        });
    })
        .def("gather",
             [](const Kernels& k, const Weight& w, uintptr_t ids, int64_t count, uintptr_t out, int out_dtype,
                float factor) {
        run_kernel([=, gather = k.gather, &w] {
            check_ids(at<int64_t>(ids), count, w.n);
            gather({&w, at<int64_t>(ids), count, at<void>(out), out_dtype, factor});
        });
    },
             nb::arg("w"), nb::arg("ids"), nb::arg("count"), nb::arg("out"), nb::arg("out_dtype"),
             nb::arg("factor") = 1.0f);
}
