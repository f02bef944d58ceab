// Bindings of the mixture of experts (MoE). `Experts` gathers the descriptors of a layer's matrices when it is built.
#include <nanobind/stl/vector.h>

#include <vector>

#include "bindings.h"

namespace nb = nanobind;

namespace {

struct Experts {
    std::vector<Weight> gate_up, down;
};

}  // namespace

void bind_moe(nb::module_& m, nb::class_<Kernels>& kernels) {
    nb::class_<Experts>(m, "Experts")
        .def("add", [](Experts& e, const Weight& gate_up, const Weight& down) {
        e.gate_up.push_back(gate_up);
        e.down.push_back(down);
    }).def(nb::init<>());
    kernels.def("moe", [](const Kernels& k, const Experts& e, int64_t top_k, bool renormalize, int act, uintptr_t x,
                          uintptr_t router_logits, uintptr_t ids, uintptr_t weights, int dtype, int64_t count,
                          uintptr_t residual, float alpha, uintptr_t out) {
        nb::gil_scoped_release unlocked;
        run_kernel([=, moe = k.moe, &e] {
            moe({e.gate_up.data(), e.down.data(), (int64_t)e.down.size(), top_k, renormalize, act, at<void>(x),
                 at<void>(router_logits), at<int32_t>(ids), at<float>(weights), dtype, count, at<void>(residual), alpha,
                 at<void>(out)});
        });
    });
}
