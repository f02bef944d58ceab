// Bindings of the norms, of the clip, norms and rotation of q and k, and of the rotation alone.
#include "bindings.h"

namespace nb = nanobind;

void bind_norm(nb::module_&, nb::class_<Kernels>& kernels) {
    kernels
        .def("norm",
             [](const Kernels& k, bool centred, bool rounds_first, float eps, uintptr_t x, int dtype, int64_t rows,
                int64_t n, int64_t x_stride, uintptr_t weight, uintptr_t bias, bool adds, float alpha, uintptr_t out,
                int64_t out_stride) {
        run_kernel([=, norm = k.norm] {
            norm({{centred, rounds_first, eps},
                  at<void>(x),
                  dtype,
                  rows,
                  n,
                  x_stride,
                  at<float>(weight),
                  at<float>(bias),
                  adds,
                  alpha,
                  at<void>(out),
                  out_stride});
        });
    })
        .def("add_norm",
             [](const Kernels& k, bool centred, bool rounds_first, float eps, uintptr_t x, int64_t x_stride,
                uintptr_t residual, int64_t residual_stride, int dtype, int64_t rows, int64_t n, uintptr_t weight,
                uintptr_t bias, uintptr_t sum, int64_t sum_stride, uintptr_t out, int64_t out_stride) {
        run_kernel([=, add_norm = k.add_norm] {
            add_norm({{centred, rounds_first, eps},
                      at<void>(x),
                      x_stride,
                      at<void>(residual),
                      residual_stride,
                      dtype,
                      rows,
                      n,
                      at<float>(weight),
                      at<float>(bias),
                      at<void>(sum),
                      sum_stride,
                      at<void>(out),
                      out_stride});
        });
    })
        .def("rotate",
             [](const Kernels& k, uintptr_t q, int64_t q_stride, int64_t heads, uintptr_t keys, int64_t k_stride,
                int64_t kv_heads, int dtype, int64_t tokens, int64_t head_dim, uintptr_t cos, uintptr_t sin,
                int64_t half, bool interleaved, uintptr_t q_out, int64_t q_out_stride, uintptr_t k_out,
                int64_t k_out_stride) {
        run_kernel([=, rotate = k.rotate] {
            rotate({at<void>(q), q_stride, heads, at<void>(keys), k_stride, kv_heads, dtype, tokens, head_dim,
                    at<float>(cos), at<float>(sin), half, interleaved, at<void>(q_out), q_out_stride, at<void>(k_out),
                    k_out_stride});
        });
    })
        .def("transform_qk",
             [](const Kernels& k, uintptr_t qkv, int dtype, int64_t tokens, int64_t stride, int64_t heads,
                int64_t kv_heads, int64_t head_dim, float clip, bool centred, bool rounds_first, float eps,
                uintptr_t q_weight, uintptr_t k_weight, uintptr_t q_bias, uintptr_t k_bias, bool by_head, bool over_all,
                uintptr_t cos, uintptr_t sin, int64_t half, bool interleaved) {
        run_kernel([=, transform_qk = k.transform_qk] {
            transform_qk({at<void>(qkv),
                          dtype,
                          tokens,
                          stride,
                          heads,
                          kv_heads,
                          head_dim,
                          clip,
                          {centred, rounds_first, eps},
                          at<float>(q_weight),
                          at<float>(k_weight),
                          at<float>(q_bias),
                          at<float>(k_bias),
                          by_head,
                          over_all,
                          at<float>(cos),
                          at<float>(sin),
                          half,
                          interleaved});
        });
    });
}
