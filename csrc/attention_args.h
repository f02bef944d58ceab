// The paged KV cache: how it is stored, and the arguments of the kernels that write it and attend over it.
#pragma once

#include "limits.h"

// Number format of a cache. A cache is [num_blocks][kv_heads] blocks, each of 16 tokens of one head. A block of keys is
//   32 bit        [head_dim][16]
//   16 and 8 bit  [head_dim / 2][16][2]      pairs of dimensions: the operand of bfloat16 dot products and tiles
// and a block of values is
//   32 bit        [16][head_dim]
//   16 and 8 bit  [8][head_dim][2]           pairs of tokens
// With this layout a vector holds the scores of 16 keys, or 16 dimensions of an output. A KV_INT8 number is an 8-bit
// code (quantized value, sign and magnitude) times the scale of its token; [16] float32 scales follow a block's codes.
// Where v is null, keys are latents: the value of a token is the last value_dim numbers of its key.
enum KvKind : int { KV_F32 = 0, KV_BF16 = 1, KV_F16 = 2, KV_E4M3 = 3, KV_E5M2 = 4, KV_INT8 = 5 };

struct KvCache {
    void *k, *v;
    int kind;
    int64_t num_blocks, kv_heads, head_dim;
    int64_t value_dim;  // head_dim, unless keys are latents
};

// The part of a step that all layers of a cache group share. The tokens of the sequences are packed one after another.
struct AttentionStep {
    int64_t num_tokens, num_seqs;  // queries and sequences
    int64_t num_slots;             // tokens written to the cache in this step: num_tokens, except in cross attention
    const int64_t* slots;          // [num_slots], where each token is cached: block * 16 + offset
    const int32_t* query_lens;     // [num_seqs], queries of each sequence in this step
    const int32_t* seq_lens;       // [num_seqs], tokens of each sequence in the cache after this step
    const int32_t* block_table;    // [num_seqs][table_width], -1 where there is no block
    int64_t table_width;
    int64_t window;  // keys that a causal query sees, its own included; 0: all
    // [num_tokens]: query t sees the keys [first_keys[t], end_keys[t]), counted from the first token of its sequence. A
    // query that sees no key gets zeros. Null: causal, query i of a sequence sees the keys up to its own position,
    // seq_len - query_len + i.
    const int32_t *first_keys, *end_keys;
    // Prefix groups: sequences with one query each whose first `group_spans` spans of 64 tokens are the same blocks.
    int64_t num_groups;
    const int32_t* group_starts;   // [num_groups + 1], into group_members
    const int32_t* group_members;  // [group_starts[num_groups]], indices of sequences
    const int32_t* group_spans;    // [num_groups]
    const int32_t* shared_spans;   // [num_seqs], group_spans of the sequence's group, or 0
};

struct CacheWriteArgs {
    KvCache cache;
    const int64_t* slots;  // [num_tokens]
    int64_t num_tokens;
    const void *k,
        *v;  // [num_tokens][kv_heads][head_dim] of dtype, tokens a stride (in elements) apart; v null: latents
    int dtype;
    int64_t k_stride, v_stride;
};

struct AttentionArgs {
    const AttentionStep* step;
    KvCache cache;
    const void* q;  // [num_tokens][heads][head_dim] of dtype, tokens q_stride elements apart
    int dtype;
    int64_t q_stride, heads;
    float scale;
    float softcap;                  // 0: none
    const float* slopes;            // [heads], ALiBi's slopes, or null
    float alibi_scale;              // factor on ALiBi's bias
    bool alibi_bf16;                // ALiBi rounds positions and products to bfloat16
    const float* bias_by_distance;  // [heads][2 * farthest + 1], added to a score by key - query position, or null
    int64_t farthest;               // distances are clamped to -farthest .. farthest
    const float* sinks;             // [heads], logits that join each row's softmax without a value, or null
    void* out;                      // [num_tokens][heads][value_dim] of dtype
};
