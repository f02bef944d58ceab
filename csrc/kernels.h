// What every level (one compilation of the kernels for one instruction set) offers: a table of functions, and their
// arguments as plain structs. Pointers and sizes were checked by the Python side before they come here.
#pragma once

#include <stdint.h>

#include "attention_args.h"
#include "limits.h"
#include "nodes.h"

// How a matrix [n, k] is stored. All are panels of 32 rows, one after another; n is padded to a multiple of 64.
//   dense 16 bit    [n / 32][k / 2][32][2]       pairs of columns, as bfloat16 dot products and tiles want them
//   dense 32 bit    [n / 32][k][32]
// Codes lie by pairs of columns, the even one in the low half of a row's 32-bit word, the odd one in the high half:
//   4 bit           [n / 32][k / 8][32]          four pairs to a word, the first in the lowest bits of both halves
//   6 bit           [n / 32][k / 16]             the low 4 bits of 16 columns as above [2][32], then their high 2 bits
//                                                [32], eight pairs to a word
//   5 bit           [n / 32][k / 16]             the same, the high bits in [32] 16-bit words
//   8 bit           [n / 32][k / 4][8][2][4][2]  eight times four rows, two pairs; code - zero as sign and magnitude,
//                                                -128 as "-0"
//   8 bit, for integers [n / 32][K / 4][32][4]   two's complement; K is k padded by zeros to a multiple of 64
enum WeightKind : int { W_F32 = 0, W_BF16 = 1, W_F16 = 2, W_Q4 = 4, W_Q5 = 5, W_Q6 = 6, W_Q8 = 8, W_S8 = 9 };

// Scales (and offsets) of codes: [n / 32][k / group][32] of a float type, or of bytes times [n / 32][k / super][32] float16.
enum ScaleKind : int { S_F32 = 0, S_F16 = 2, S_U8 = 3, S_I8 = 4 };

struct Weight {
    int kind;
    int64_t n, k;
    const void* data;
    // Quantized kinds: w = scale * (code - zero) + offset, for `group` columns at a time (group == k: one for a row).
    int zero = 0;                       // of 8 bits: taken off when they were packed
    int64_t group = 0;
    int scale_kind = S_F32;
    const void* scales = nullptr;
    const void* offsets = nullptr;
    int64_t groups_per_super = 1;
    const uint16_t* super_scales = nullptr;
    const uint16_t* super_offsets = nullptr;
    const int32_t* code_sums = nullptr; // W_S8: of each row's codes, [n padded]
    uint16_t numbers[64] = {};          // code - zero as bfloat16, of codes of up to 6 bits (4 bits: twice)
    const Nodes* nodes = nullptr;       // whose memory its column groups lie in; null where there is one node
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
    float factor;               // on each element
};

// A mixture of experts: each token's `top_k` of `num_experts` gated MLPs, weighted and summed.
struct MoEArgs {
    const Weight *gate_up, *down;   // [num_experts]
    int64_t num_experts, top_k;
    bool renormalize;
    int act;
    const void* x;                  // [m, hidden] of dtype, contiguous, as are router_logits and out
    const void* router_logits;      // [m, num_experts], or null where the routing is given
    const int32_t* ids;             // [m, top_k], the experts of each token, and
    const float* weights;           // [m, top_k], their weights; or null
    int dtype;
    int64_t m;
    const void* residual;           // [m, hidden] or null; may be out
    float alpha;
    void* out;                      // [m, hidden]
};

// act(x), or gated: act(first half of the columns) * second half.
struct ActArgs {
    int act;
    bool gated;
    const void* x;                  // [rows, width] or gated [rows, 2 width], of dtype
    int dtype;
    int64_t rows, width, x_stride;
    void* out;                      // [rows, width]; may be x
    int64_t out_stride;
};

// Rows of a plain table by id, times a factor.
struct RowsArgs {
    const void* table;              // [.., width] of dtype, rows stride elements apart
    int dtype;
    int64_t width, stride;
    const int64_t* ids;             // [count], rows of the table
    int64_t count;
    float factor;
    void* out;                      // [count, width]
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
    bool adds;                      // out += alpha * the result, which is rounded first
    float alpha;
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

enum RowState : uint8_t { ROW_GOOD = 0, ROW_NO_NUMBERS = 1, ROW_EMPTY = 2 };   // NaN or +inf in it; all -inf

// Floats of memory that sampling needs for each thread.
inline int64_t sampling_memory(int64_t vocab) { return (5 * vocab + 15) / 16 * 16; }

// A token for each row. The arrays over rows may be null together: then every row takes its likeliest token.
struct DrawArgs {
    float* logits;                  // [rows, vocab], rows stride elements apart
    int64_t rows, vocab, stride;
    const float* temperatures;      // 0: the likeliest token
    const float *min_ps, *top_ps;   // 0 and 1: off
    const int64_t* top_ks;          // 0: off
    const double* numbers;          // in (0, 1)
    bool write_back;                // rows that are drawn become what they were drawn from
    int64_t* tokens;
    uint8_t* states;
    float* memory;                  // sampling_memory(vocab) for each thread
};

// Values, ranks and likeliest tokens of some rows.
struct ReportArgs {
    const float* logits;            // [.., vocab], rows stride elements apart
    int64_t vocab, stride;
    const int64_t* row_ids;         // [rows], which rows of logits
    int64_t rows;
    const int64_t* chosen_ids;      // [rows]
    int64_t num_best;               // at most vocab
    bool as_logits;                 // the logits themselves, else their logarithms of probabilities
    float* chosen;                  // [rows]
    int64_t* ranks;                 // [rows], from 1
    int64_t* best_ids;              // [rows, num_best]
    float* best;
    float* memory;
};

// What the operators with a state for each sequence share in a step. Rows [starts[s], starts[s + 1]) are sequence s's.
struct ScanStep {
    int64_t num_seqs;
    const int64_t* starts;          // [num_seqs + 1]
    const int64_t* read_ids;        // [num_seqs], the state before the first row; -1: zeros
    const int64_t* write_ids;       // [num_seqs], where the state after the last row goes; no other sequence reads or writes it
};

// Rows of inputs are their stride apart. States that a step only reads stay as they are.
struct ConvArgs {
    const ScanStep* step;
    const void* x;                  // [rows, channels] of dtype
    int dtype;
    int64_t x_stride, channels;
    const float* weight;            // [size, channels], the oldest row first
    int64_t size;
    const float* bias;              // [channels] or null
    int act;
    void* states;                   // [.., size - 1, channels] of dtype: the last rows, oldest first
    void* out;                      // not x
    int64_t out_stride;
};

struct DeltaArgs {
    const ScanStep* step;
    const void* q;                  // [rows, key_heads, key_dim] of dtype
    int64_t q_stride;
    const void* k;
    int64_t k_stride;
    const void* v;                  // [rows, heads, value_dim]
    int64_t v_stride;
    int dtype;
    const float *log_decays, *betas;    // [rows, heads]
    int64_t key_heads, heads, key_dim, value_dim;
    float scale;                    // on q
    bool normalises;                // q and k to length one
    float* states;                  // [.., heads, key_dim, value_dim]
    void* out;                      // [rows, heads, value_dim]
};

struct MambaArgs {
    const ScanStep* step;
    bool by_head;                   // Mamba-2; Mamba-1 is one head and one group
    const void* x;                  // [rows, heads, head_dim] of dtype
    int64_t x_stride;
    const void* dt;                 // [rows, head_dim], by_head: [rows, heads]
    int64_t dt_stride;
    const void* b;                  // [rows, groups, state_size]
    int64_t b_stride;
    const void* c;
    int64_t c_stride;
    const void* z;                  // [rows, heads, head_dim] or null: out is multiplied by silu(z)
    int64_t z_stride;
    int dtype;
    const float* a;                 // [state_size, head_dim], by_head: [heads]; negative
    const float *d, *dt_bias;       // [head_dim], by_head: [heads]; or null
    bool softplus;
    float least_dt, most_dt;
    int64_t heads, head_dim, groups, state_size;
    float* states;                  // [.., heads, state_size, head_dim]
    void* out;                      // [rows, heads, head_dim]
};

struct Kernels {
    const char* name;
    void (*linear)(const LinearArgs&);
    void (*gather)(const GatherArgs&);
    void (*moe)(const MoEArgs&);
    void (*norm)(const NormArgs&);
    void (*transform_qk)(const QKArgs&);
    void (*write_cache)(const CacheWriteArgs&);
    void (*attention)(const AttentionArgs&);
    void (*activation)(const ActArgs&);
    void (*table_rows)(const RowsArgs&);
    void (*draw)(const DrawArgs&);
    void (*report)(const ReportArgs&);
    void (*conv)(const ConvArgs&);
    void (*gated_delta)(const DeltaArgs&);
    void (*mamba)(const MambaArgs&);
    void (*vector_function)(int which, const float* x, int64_t n, float* out);
};

const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Kernels* kernels_avx512_bf16();
const Kernels* kernels_amx();
const Kernels* kernels_amx_emulated();
