// Rows of a packed matrix by id, for an embedding that shares its table with the head (tied weights).
#pragma once

#include "linear.h"

namespace WEFT_NS {

WEFT_INLINE float scale_of_row(const Weight& w, const void* values, const uint16_t* super, int64_t p, int64_t g,
                               int c) {
    int64_t groups = w.k / w.group, at = (p * groups + g) * PANEL + c, n = groups / w.groups_per_super;
    float factor = super ? f16_to_float(super[(p * n + g / w.groups_per_super) * PANEL + c]) : 1.0f;
    switch (w.scale_kind) {
        case S_F32: return ((const float*)values)[at];
        case S_F16: return f16_to_float(((const uint16_t*)values)[at]);
        case S_U8: return (float)((const uint8_t*)values)[at] * factor;
        default: return (float)((const int8_t*)values)[at] * factor;
    }
}

// Columns [k0, k1) of a row as floats. Of a quantized row, they lie in one group, so they share a scale.
static void row_floats(const Weight& w, int64_t row, int64_t k0, int64_t k1, float* out) {
    int64_t p = row / PANEL;
    int c = (int)(row % PANEL);
    const uint8_t* data = (const uint8_t*)w.data + p * panel_bytes(w);
    float scale = 1, offset = 0;
    if (w.kind >= W_Q4) {
        scale = scale_of_row(w, w.scales, w.super_scales, p, k0 / w.group, c);
        if (w.offsets) offset = scale_of_row(w, w.offsets, w.super_offsets, p, k0 / w.group, c);
    }
    for (int64_t k = k0; k < k1; k++) {
        float v;
        switch (w.kind) {
            case W_F32: v = ((const float*)data)[k * PANEL + c]; break;
            case W_BF16: v = bf16_to_float(((const uint16_t*)data)[2 * (k / 2 * PANEL + c) + k % 2]); break;
            case W_F16: v = f16_to_float(((const uint16_t*)data)[k * PANEL + c]); break;
            default: v = (float)code_at(w, data, k, c); break;
        }
        out[k - k0] = w.kind >= W_Q4 ? v * scale + offset : v;
    }
}

static void gather(const GatherArgs& a) {
    constexpr int STEP = 256;
    const Weight& w = *a.w;
    int64_t step = w.kind >= W_Q4 && w.group < STEP ? w.group : STEP;
    parallel_for(a.count, 4, [&](int64_t i) {
        float values[STEP];
        for (int64_t k0 = 0; k0 < w.k; k0 += step) {
            int64_t k1 = k0 + step < w.k ? k0 + step : w.k;
            row_floats(w, a.ids[i], k0, k1, values);
            WEFT_BY_DTYPE(a.out_dtype, {
                typename Float<D>::T* out = (typename Float<D>::T*)a.out + i * w.k + k0;
                for (int64_t k = 0; k < k1 - k0; k++)
                    out[k] = Float<D>::put(Float<D>::get(Float<D>::put(values[k])) * a.factor);
            })
        }
    });
}

}  // namespace WEFT_NS
