// Bindings of the activations and of the rows of unpacked tables.
#include "bindings.h"

namespace nb = nanobind;

void bind_act(nb::module_& m, nb::class_<Kernels>& kernels) {
    m.def("check_ids", [](uintptr_t ids, int64_t count, int64_t rows) { check_ids(at<int64_t>(ids), count, rows); });
    kernels
        .def("activation",
             [](const Kernels& k, int act, bool gated, uintptr_t x, int dtype, int64_t rows, int64_t width,
                int64_t x_stride, uintptr_t out, int64_t out_stride) {
        nb::gil_scoped_release unlocked;
        run_kernel([=, activation = k.activation] {
            activation({act, gated, at<void>(x), dtype, rows, width, x_stride, at<void>(out), out_stride});
        });
    })
        .def("table_rows", [](const Kernels& k, uintptr_t table, int dtype, int64_t rows, int64_t width, int64_t stride,
                              uintptr_t ids, int64_t count, float factor, uintptr_t out) {
        run_kernel([=, table_rows = k.table_rows] {
            check_ids(at<int64_t>(ids), count, rows);
            table_rows({at<void>(table), dtype, width, stride, at<int64_t>(ids), count, factor, at<void>(out)});
        });
    }).def("vector_function", [](const Kernels& k, int which, uintptr_t x, int64_t n, uintptr_t out) {
        k.vector_function(which, at<float>(x), n, at<float>(out));
    });
}
