// The paged cache and attention over it: how a cache is stored, and the arguments of the kernels as plain structs.
#pragma once

#include "limits.h"

// How numbers are cached. A cache is [num_blocks][kv_heads] blocks of 16 tokens of one head; a block of keys is
//   32 bit        [head_dim][16]
//   16 and 8 bit  [head_dim / 2][16][2]      pairs of dimensions, as bfloat16 dot products and tiles want them
// and one of values
//   32 bit        [16][head_dim]
//   16 and 8 bit  [8][head_dim][2]           pairs of tokens
// so that vectors hold the scores of 16 keys, or 16 dimensions of an output. Each number of KV_INT8 is a code (sign and
// magnitude) times the token's scale; after the codes a block has [16] float scales.
enum KvKind : int { KV_F32 = 0, KV_BF16 = 1, KV_F16 = 2, KV_E4M3 = 3, KV_E5M2 = 4, KV_INT8 = 5 };

struct KvCache {
    void *k, *v;
    int kind;
    int64_t num_blocks, kv_heads, head_dim;
};

// What the layers of a cache group share in a step. Sequences lie one after another in the step's tokens.
struct AttentionStep {
    int64_t num_tokens, num_seqs;     // queries and sequences
    int64_t num_slots;                // tokens that are cached in this step: num_tokens, but for cross attention
    const int64_t* slots;             // [num_slots], block * 16 + offset, where each token is cached
    const int32_t* query_lens;        // [num_seqs], queries of each sequence in this step
    const int32_t* seq_lens;          // [num_seqs], its tokens in the cache after this step
    const int32_t* block_table;       // [num_seqs][table_width], -1 where there is no block
    int64_t table_width;
    int64_t window;                   // of causal rows: tokens a query sees, itself included; 0: all
    // [num_tokens], the keys [first_keys, end_keys) that each query sees, within its sequence's tokens; none: its result is
    // zeros. Null: causal rows, query i of a sequence sees keys up to its place seq_len - query_len + i.
    const int32_t *first_keys, *end_keys;
    // Groups of sequences with one query each whose first `group_spans` spans of 64 tokens are the same blocks.
    int64_t num_groups;
    const int32_t* group_starts;      // [num_groups + 1], into group_members
    const int32_t* group_members;     // sequences
    const int32_t* group_spans;       // [num_groups]
    const int32_t* shared_spans;      // [num_seqs], group_spans of its group or 0
};

struct CacheWriteArgs {
    KvCache cache;
    const int64_t* slots;             // [num_tokens]
    int64_t num_tokens;
    const void *k, *v;                // [num_tokens][kv_heads][head_dim] of dtype, tokens their stride (in elements) apart
    int dtype;
    int64_t k_stride, v_stride;
};

struct AttentionArgs {
    const AttentionStep* step;
    KvCache cache;
    const void* q;                    // [num_tokens][heads][head_dim] of dtype, tokens q_stride elements apart
    int dtype;
    int64_t q_stride, heads;
    float scale;
    float softcap;                    // 0: none
    const float* slopes;              // [heads], of ALiBi, or null
    float alibi_scale;
    bool alibi_bf16;                  // position and product rounded to bfloat16
    const float* bias_by_distance;    // [heads][2 * farthest + 1], added to scores by key minus query, or null
    int64_t farthest;                 // distances beyond it count as it
    const float* sinks;               // [heads], logits that join each row's softmax without a value, or null
    void* out;                        // [num_tokens][heads][head_dim] of dtype
};
