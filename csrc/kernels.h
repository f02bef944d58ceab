// The table of kernels that every ISA level offers, and their arguments as plain structs. A level is one compilation of
// the kernels for one instruction set. The Python side has checked pointers and sizes before a kernel is called.
#pragma once

#include <stdint.h>

#include "attention_args.h"
#include "limits.h"
#include "nodes.h"

// How a matrix [n, k] is stored: as panels of 32 rows, one after another, with n padded to a multiple of 64.
//   bfloat16        [n / 32][k / 2][32][2]       pairs of columns: the operand of bfloat16 dot products and tiles
//   float16, float32 [n / 32][k][32]
// Codes (quantized values) of a row lie in 32-bit words:
//   4 bit           [n / 32][k / 8][32]          pairs of columns, the even one in the low half of the word, the odd one
//                                                in the high half; the first pair in the lowest bits of both halves
//   6 bit           [n / 32][k / 16]             the low 4 bits of 16 columns [2][32], then their high 2 bits [32].
//                                                Four columns at a time lie in the four bytes of a word, in the order
//                                                0, 2, 1, 3, the first four in the lowest bits of the bytes
//   5 bit           [n / 32][k / 32]             the same for 32 columns: the low 4 bits [4][32], the high bit [32]
//   8 bit           [n / 32][k / 4][8][2][4][2]  eight times four rows, two pairs; code - zero as sign and magnitude,
//                                                -128 as "-0"; for bfloat16 products
//   8 bit, in words [n / 32][k / 4][32][4]       the codes in the order 0, 2, 1, 3; for products of floats
//   8 bit, for integers [n / 32][K / 4][32][4]   two's complement; K is k padded by zeros to a multiple of 64
enum WeightKind : int { W_F32 = 0, W_BF16 = 1, W_F16 = 2, W_Q4 = 4, W_Q5 = 5, W_Q6 = 6, W_U8 = 7, W_Q8 = 8, W_S8 = 9 };

// Scales (and offsets) of codes: [n / 32][k / group][32] of a float type, or of bytes. Bytes are multiplied by super
// scales, [n / 32][k / (group * groups_per_super)][32] float16.
enum ScaleKind : int { S_F32 = 0, S_F16 = 2, S_U8 = 3, S_I8 = 4 };

struct Weight {
    int kind;
    int64_t n, k;
    const void* data;
    // Quantized kinds: w = scale * (code - zero) + offset; `group` columns share a scale (group == k: one for each
    // row).
    int zero = 0;  // W_Q8 codes had it subtracted when they were packed
    int64_t group = 0;
    int scale_kind = S_F32;
    const void* scales = nullptr;
    const void* offsets = nullptr;
    int64_t groups_per_super = 1;
    const uint16_t* super_scales = nullptr;
    const uint16_t* super_offsets = nullptr;
    const int32_t* code_sums = nullptr;  // W_S8: the sum of each row's codes, [n padded]
    uint16_t numbers[64] = {};           // code - zero as bfloat16, for each code of up to 6 bits (of 4 bits: repeated)
    bool int8_activations = false;       // codes are multiplied by x in 8 bits (byte_rows.h)
    const Nodes* nodes = nullptr;        // memory nodes that hold the column groups; null on a machine with one node
};

struct LinearArgs {
    const Weight* w;
    const void* x;  // [m, k] of x_dtype, rows x_stride elements apart
    int x_dtype;
    int64_t m, x_stride;
    const float* bias;  // [n] or null
    int act;            // applied to x @ w.T + bias; gated: act(first half) * second half
    bool gated;
    const void* residual;  // added, of out_dtype; may be out itself
    int64_t residual_stride;
    float alpha;  // factor on the product before the residual is added
    void* out;    // [m, n] or [m, n / 2]
    int out_dtype;
    int64_t out_stride;
};

// Rows of a packed matrix by id.
struct GatherArgs {
    const Weight* w;
    const int64_t* ids;  // [count], each in [0, n)
    int64_t count;
    void* out;  // [count, k] of out_dtype
    int out_dtype;
    float factor;  // on each element
};

// A mixture of experts: each token's `top_k` of `num_experts` gated MLPs, weighted and summed.
struct MoEArgs {
    const Weight *gate_up, *down;  // [num_experts]
    int64_t num_experts, top_k;
    bool renormalize;
    int act;
    const void* x;              // [m, hidden] of dtype, contiguous, as are router_logits and out
    const void* router_logits;  // [m, num_experts], or null where the routing is given
    const int32_t* ids;         // [m, top_k], the experts of each token; null where router_logits decide
    const float* weights;       // [m, top_k], the experts' weights, beside ids
    int dtype;
    int64_t m;
    const void* residual;  // [m, hidden] or null; may be out
    float alpha;
    void* out;  // [m, hidden]
};

// act(x), or gated: act(first half of the columns) * second half.
struct ActArgs {
    int act;
    bool gated;
    const void* x;  // [rows, width] or gated [rows, 2 width], of dtype
    int dtype;
    int64_t rows, width, x_stride;
    void* out;  // [rows, width]; may be x
    int64_t out_stride;
};

// Rows of a plain table by id, times a factor.
struct RowsArgs {
    const void* table;  // [.., width] of dtype, rows stride elements apart
    int dtype;
    int64_t width, stride;
    const int64_t* ids;  // [count], rows of the table
    int64_t count;
    float factor;
    void* out;  // [count, width]
};

// centred: LayerNorm (which subtracts the mean), else RMSNorm. rounds_first: the normalised row is rounded to its dtype
// before the weight multiplies it.
struct NormOptions {
    bool centred, rounds_first;
    float eps;
};

struct NormArgs {
    NormOptions options;
    const void* x;  // [rows, n] of dtype, rows x_stride elements apart
    int dtype;
    int64_t rows, n, x_stride;
    const float *weight, *bias;  // [n] or null
    bool adds;                   // out += alpha * result, where the result is rounded to dtype first
    float alpha;
    void* out;  // may be x
    int64_t out_stride;
};

// sum = x + residual, rounded to dtype; out = norm(sum). Rows lie their stride apart.
struct AddNormArgs {
    NormOptions options;
    const void* x;  // [rows, n] of dtype
    int64_t x_stride;
    const void* residual;  // [rows, n]
    int64_t residual_stride;
    int dtype;
    int64_t rows, n;
    const float *weight, *bias;  // [n] or null
    void* sum;                   // [rows, n]; may be x or residual
    int64_t sum_stride;
    void* out;  // [rows, n]; not sum
    int64_t out_stride;
};

// In place and in this order: clip of q, k and v; norms of q and k heads; rotation (RoPE) of q and k heads.
struct QKArgs {
    void* qkv;  // [tokens, (heads + 2 kv_heads) * head_dim] of dtype: q, k and v heads
    int dtype;
    int64_t tokens, stride, heads, kv_heads, head_dim;
    float clip;  // q, k and v are clamped to [-clip, clip]; 0: not
    NormOptions options;
    const float *q_weight, *k_weight;  // [head_dim], or that of every head by by_head and over_all; null: no norms
    const float *q_bias, *k_bias;      // shaped as the weights, or null
    bool by_head, over_all;            // a [head_dim] for each head; one norm over all q heads, one over all k heads
    const float *cos, *sin;            // [tokens, half]
    int64_t half;                      // pairs of a head that are rotated; 0: none
    bool interleaved;                  // pairs (2i, 2i + 1), else (i, i + half)
};

// Rotation (RoPE) of the first 2 * half dimensions of each head; the others are copied. Rows lie their stride apart.
struct RotateArgs {
    const void* q;  // [tokens, heads * head_dim] of dtype
    int64_t q_stride, heads;
    const void* k;  // [tokens, kv_heads * head_dim]; not read where kv_heads is 0
    int64_t k_stride, kv_heads;
    int dtype;
    int64_t tokens, head_dim;
    const float *cos, *sin;  // [tokens, half]
    int64_t half;
    bool interleaved;  // pairs (2i, 2i + 1), else (i, i + half)
    void* q_out;       // [tokens, heads * head_dim]; may be q
    int64_t q_out_stride;
    void* k_out;  // [tokens, kv_heads * head_dim]; may be k
    int64_t k_out_stride;
};

// What a row of logits was: good; with NaN or +inf; all -inf, so that no token is left.
enum RowState : uint8_t { ROW_GOOD = 0, ROW_NO_NUMBERS = 1, ROW_EMPTY = 2 };

// Memory that sampling needs for each thread, in floats.
inline int64_t sampling_memory(int64_t vocab) { return (5 * vocab + 15) / 16 * 16; }

// Draws a token for each row. The arrays from temperatures to numbers are [rows], or all null: then every row takes its
// likeliest token (greedy).
struct DrawArgs {
    float* logits;  // [rows, vocab], rows stride elements apart
    int64_t rows, vocab, stride;
    const float* temperatures;     // 0: the likeliest token
    const float *min_ps, *top_ps;  // 0 and 1: off
    const int64_t* top_ks;         // 0: off
    const double* numbers;         // the random numbers to draw with, in (0, 1)
    bool write_back;               // drawn rows of logits become the scaled and filtered logits that were drawn from
    int64_t* tokens;               // [rows]
    uint8_t* states;               // [rows], of RowState
    float* memory;                 // sampling_memory(vocab) floats for each thread
};

// Reports some rows: the chosen token's value and rank, and the likeliest tokens (log-probabilities of a completion).
struct ReportArgs {
    const float* logits;  // [.., vocab], rows stride elements apart
    int64_t vocab, stride;
    const int64_t* row_ids;  // [rows], which rows of logits
    int64_t rows;
    const int64_t* chosen_ids;  // [rows]
    int64_t num_best;           // likeliest tokens to report, at most vocab
    bool as_logits;             // values are the logits, else log-probabilities
    float* chosen;              // [rows], values of the chosen tokens
    int64_t* ranks;             // [rows], ranks of the chosen tokens, from 1
    int64_t* best_ids;          // [rows, num_best]
    float* best;                // [rows, num_best], values
    float* memory;              // as in DrawArgs
};

// The part of a step that all operators with a state for each sequence share. Sequence s has the rows
// [starts[s], starts[s + 1]).
struct ScanStep {
    int64_t num_seqs;
    const int64_t* starts;     // [num_seqs + 1]
    const int64_t* read_ids;   // [num_seqs], the state before a sequence's first row; -1: zeros
    const int64_t* write_ids;  // [num_seqs], the state after its last row, which no other sequence uses
};

// In these arguments rows of an input lie its stride (in elements) apart. A step changes no state that it only reads.
struct ConvArgs {
    const ScanStep* step;
    const void* x;  // [rows, channels] of dtype
    int dtype;
    int64_t x_stride, channels;
    const float* weight;  // [size, channels], the factor of the oldest row first
    int64_t size;
    const float* bias;  // [channels] or null
    int act;
    void* states;  // [.., size - 1, channels] of dtype: the last rows, oldest first
    void* out;     // not x
    int64_t out_stride;
};

struct DeltaArgs {
    const ScanStep* step;
    const void* q;  // [rows, key_heads, key_dim] of dtype
    int64_t q_stride;
    const void* k;
    int64_t k_stride;
    const void* v;  // [rows, heads, value_dim]
    int64_t v_stride;
    int dtype;
    const float *log_decays, *betas;  // [rows, heads]
    int64_t key_heads, heads, key_dim, value_dim;
    float scale;      // factor on q
    bool normalises;  // q and k are brought to length one first
    float* states;    // [.., heads, key_dim, value_dim]
    void* out;        // [rows, heads, value_dim]
};

struct MambaArgs {
    const ScanStep* step;
    bool by_head;   // Mamba-2; else Mamba-1, which has one head and one group
    const void* x;  // [rows, heads, head_dim] of dtype
    int64_t x_stride;
    const void* dt;  // [rows, head_dim], by_head: [rows, heads]
    int64_t dt_stride;
    const void* b;  // [rows, groups, state_size]
    int64_t b_stride;
    const void* c;
    int64_t c_stride;
    const void* z;  // [rows, heads, head_dim] or null: out is multiplied by silu(z)
    int64_t z_stride;
    int dtype;
    const float* a;            // [state_size, head_dim], by_head: [heads]; negative
    const float *d, *dt_bias;  // [head_dim], by_head: [heads]; or null
    bool softplus;             // dt = softplus(dt + dt_bias), else dt + dt_bias
    float least_dt, most_dt;   // then dt is clamped to these
    int64_t heads, head_dim, groups, state_size;
    float* states;  // [.., heads, state_size, head_dim]
    void* out;      // [rows, heads, head_dim]
};

struct Kernels {
    const char* name;
    bool multiplies_bfloat16;  // the level has products of bfloat16 pairs
    void (*linear)(const LinearArgs&);
    void (*gather)(const GatherArgs&);
    void (*moe)(const MoEArgs&);
    void (*norm)(const NormArgs&);
    void (*add_norm)(const AddNormArgs&);
    void (*transform_qk)(const QKArgs&);
    void (*rotate)(const RotateArgs&);
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
const Kernels* kernels_avx_vnni();
const Kernels* kernels_avx512();
const Kernels* kernels_avx512_bf16();
const Kernels* kernels_amx();
const Kernels* kernels_amx_emulated();
const Kernels* kernels_neon();
const Kernels* kernels_neon_i8mm();
