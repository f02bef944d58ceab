// Bindings of the operators with a state for each sequence: the causal convolution, the gated delta rule, Mamba.
#include "bindings.h"

namespace nb = nanobind;

void bind_scan(nb::module_& m, nb::class_<Kernels>& kernels) {
    nb::class_<ScanStep>(m, "ScanStep").def("assign", [](ScanStep& s, const ScanStep& other) { s = other; });
    m.def("scan_step", [](int64_t num_seqs, uintptr_t starts, uintptr_t read_ids, uintptr_t write_ids) {
        return ScanStep{num_seqs, at<int64_t>(starts), at<int64_t>(read_ids), at<int64_t>(write_ids)};
    }, nb::arg("num_seqs"), nb::arg("starts"), nb::arg("read_ids"), nb::arg("write_ids"));
    kernels
        .def("conv",
             [](const Kernels& k, const ScanStep& step, uintptr_t x, int dtype, int64_t x_stride, int64_t channels,
                uintptr_t weight, int64_t size, uintptr_t bias, int act, uintptr_t states, uintptr_t out,
                int64_t out_stride) {
        nb::gil_scoped_release unlocked;
        run_kernel([=, conv = k.conv, &step] {
            conv({&step, at<void>(x), dtype, x_stride, channels, at<float>(weight), size, at<float>(bias), act,
                  at<void>(states), at<void>(out), out_stride});
        });
    })
        .def("gated_delta",
             [](const Kernels& k, const ScanStep& step, uintptr_t q, int64_t q_stride, uintptr_t key, int64_t k_stride,
                uintptr_t v, int64_t v_stride, int dtype, uintptr_t log_decays, uintptr_t betas, int64_t key_heads,
                int64_t heads, int64_t key_dim, int64_t value_dim, float scale, bool normalises, uintptr_t states,
                uintptr_t out) {
        nb::gil_scoped_release unlocked;
        run_kernel([=, gated_delta = k.gated_delta, &step] {
            gated_delta({&step, at<void>(q), q_stride, at<void>(key), k_stride, at<void>(v), v_stride, dtype,
                         at<float>(log_decays), at<float>(betas), key_heads, heads, key_dim, value_dim, scale,
                         normalises, at<float>(states), at<void>(out)});
        });
    })
        .def("mamba", [](const Kernels& k, const ScanStep& step, bool by_head, uintptr_t x, int64_t x_stride,
                         uintptr_t dt, int64_t dt_stride, uintptr_t b, int64_t b_stride, uintptr_t c, int64_t c_stride,
                         uintptr_t z, int64_t z_stride, int dtype, uintptr_t a, uintptr_t d, uintptr_t dt_bias,
                         bool softplus, float least_dt, float most_dt, int64_t heads, int64_t head_dim, int64_t groups,
                         int64_t state_size, uintptr_t states, uintptr_t out) {
        nb::gil_scoped_release unlocked;
        run_kernel([=, mamba = k.mamba, &step] {
            mamba({&step,        by_head,      at<void>(x),  x_stride,
                   at<void>(dt), dt_stride,    at<void>(b),  b_stride,
                   at<void>(c),  c_stride,     at<void>(z),  z_stride,
                   dtype,        at<float>(a), at<float>(d), at<float>(dt_bias),
                   softplus,     least_dt,     most_dt,      heads,
                   head_dim,     groups,       state_size,   at<float>(states),
                   at<void>(out)});
        });
    });
}
