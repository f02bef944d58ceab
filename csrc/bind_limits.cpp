// `weft._native.limits`: a dictionary of the constants and enumerations of the headers, by name.
#include "bindings.h"
#include "limits.h"

namespace nb = nanobind;

void bind_limits(nb::module_& m) {
    nb::dict limits;
#define WEFT_LIMIT(name) limits[#name] = (int64_t)(name)
    WEFT_LIMIT(F32);
    WEFT_LIMIT(BF16);
    WEFT_LIMIT(F16);
    WEFT_LIMIT(ACT_NONE);
    WEFT_LIMIT(ACT_SILU);
    WEFT_LIMIT(ACT_GELU);
    WEFT_LIMIT(ACT_GELU_TANH);
    WEFT_LIMIT(ACT_QUICK_GELU);
    WEFT_LIMIT(ACT_RELU);
    WEFT_LIMIT(ACT_RELU2);
    WEFT_LIMIT(ACT_TANH);
    WEFT_LIMIT(ACT_SIGMOID);
    WEFT_LIMIT(KV_F32);
    WEFT_LIMIT(KV_BF16);
    WEFT_LIMIT(KV_F16);
    WEFT_LIMIT(KV_E4M3);
    WEFT_LIMIT(KV_E5M2);
    WEFT_LIMIT(KV_INT8);
    WEFT_LIMIT(W_S8);
    WEFT_LIMIT(S_F32);
    WEFT_LIMIT(S_F16);
    WEFT_LIMIT(S_U8);
    WEFT_LIMIT(S_I8);
    WEFT_LIMIT(PANEL);
    WEFT_LIMIT(GROUP);
    WEFT_LIMIT(INTEGER_COLUMNS);
    WEFT_LIMIT(KV_BLOCK);
    WEFT_LIMIT(SPAN_BLOCKS);
    WEFT_LIMIT(SEGMENT_SPANS);
    WEFT_LIMIT(SPLIT_QUERIES);
    WEFT_LIMIT(STATE_VALUES);
    WEFT_LIMIT(LARGEST_HEAD);
    WEFT_LIMIT(LARGEST_LATENT);
    WEFT_LIMIT(CONV_LONGEST);
    WEFT_LIMIT(LARGEST_KEY);
    WEFT_LIMIT(LARGEST_STATE);
#undef WEFT_LIMIT
    m.attr("limits") = limits;
}
