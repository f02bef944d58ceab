// What every level (one compilation of the kernels for one instruction set) offers: a table of functions, and their
// arguments as plain structs. Pointers and sizes were checked by the Python side before they come here.
#pragma once

#include <stdint.h>

#include "attention_args.h"

// How a matrix [n, k] is stored. All are panels of 32 rows, one after another; n is padded to a multiple of 64.
//   dense 16 bit    [n / 32][k / 2][32][2]       pairs of columns, as bfloat16 dot products and tiles want them
//   dense 32 bit    [n / 32][k][32]
//   codes of 4 bit  [n / 32][k / 2][32]          a byte: column 2i in the low half, 2i + 1 in the high half
//   codes of 8 bit  [n / 32][k / 2][32][2]
enum WeightKind : int { W_F32 = 0, W_BF16 = 1, W_F16 = 2, W_Q4 = 4, W_Q8 = 8 };

// Scales (and offsets) of codes: [n / 32][k / group][32] of a float type, or of bytes times [n / 32][k / super][32] float16.
enum ScaleKind : int { S_F32 = 0, S_F16 = 2, S_U8 = 3, S_I8 = 4 };

struct Weight {
    int kind;
    int64_t n, k;
    const void* data;
    // Quantized kinds: w = scale * (code - zero) + offset, for `group` columns at a time (group == k: one for a row).
    int zero = 0;
    int64_t group = 0;
    int scale_kind = S_F32;
    const void* scales = nullptr;
    const void* offsets = nullptr;
    int64_t groups_per_super = 1;
    const uint16_t* super_scales = nullptr;
    const uint16_t* super_offsets = nullptr;
};

struct LinearArgs {
    const Weight* w;
    const void* x;              // [m, k] of x_dtype, rows x_stride elements apart
    int x_dtype;
    int64_t m, x_stride;
    const float* bias;          // [n] or null
    int act;                    // applied to x @ w.T + bias; gated: act(first half) * second half
    bool gated;
    const void* residual;       // added, of out_dtype; may be out itself
    int64_t residual_stride;
    float alpha;                // factor on the product before the residual is added
    void* out;                  // [m, n] or [m, n / 2]
    int out_dtype;
    int64_t out_stride;
};

// Rows of a packed matrix by id.
struct GatherArgs {
    const Weight* w;
    const int64_t* ids;         // [count], each in [0, n)
    int64_t count;
    void* out;                  // [count, k] of out_dtype
    int out_dtype;
};

// A mixture of experts: each token's `top_k` of `num_experts` gated MLPs, weighted and summed.
struct MoEArgs {
    const Weight *gate_up, *down;   // [num_experts]
    int64_t num_experts, top_k;
    bool renormalize;
    int act;
    const void* x;                  // [m, hidden] of dtype, contiguous, as are router_logits and out
    const void* router_logits;      // [m, num_experts]
    int dtype;
    int64_t m;
    const void* residual;           // [m, hidden] or null; may be out
    float alpha;
    void* out;                      // [m, hidden]
};

// centred: LayerNorm (the mean is taken off), else RMSNorm. rounds_first: rounded to the type before the weight.
struct NormOptions {
    bool centred, rounds_first;
    float eps;
};

struct NormArgs {
    NormOptions options;
    const void* x;                  // [rows, n] of dtype, rows x_stride elements apart
    int dtype;
    int64_t rows, n, x_stride;
    const float *weight, *bias;     // [n] or null
    void* out;                      // may be x
    int64_t out_stride;
};

// Clip, norms of q and k heads, rotation, in place.
struct QKArgs {
    void* qkv;                      // [tokens, (heads + 2 kv_heads) * head_dim] of dtype: q, k and v heads
    int dtype;
    int64_t tokens, stride, heads, kv_heads, head_dim;
    float clip;                     // q, k and v into [-clip, clip] first; 0: not
    NormOptions options;
    const float *q_weight, *k_weight;   // [head_dim], by_head: [heads, head_dim]; null: no norms
    const float *q_bias, *k_bias;       // as the weights, or null
    bool by_head, over_all;         // over_all: one norm over all q heads, one over all k heads, weights [heads * head_dim]
    const float *cos, *sin;         // [tokens, half]
    int64_t half;                   // pairs that turn; 0: none
    bool interleaved;
};

struct Kernels {
    const char* name;
    int lanes;
    bool bf16_products;
    void (*linear)(const LinearArgs&);
    void (*gather)(const GatherArgs&);
    void (*moe)(const MoEArgs&);
    void (*norm)(const NormArgs&);
    void (*prepare_qk)(const QKArgs&);
    void (*write_cache)(const CacheWriteArgs&);
    void (*attention)(const AttentionArgs&);
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Kernels* kernels_avx512_bf16();
const Kernels* kernels_amx();
const Kernels* kernels_amx_emulated();
