// Numbers that the Python side knows too: `weft._native.limits` has them by these names (bind_limits.cpp), and
// tests/ops/test_limits.py compares those that Python writes down for installations without the extension.
#pragma once

#include <stdint.h>

// Element types of tensors.
enum DType : int { F32 = 0, BF16 = 1, F16 = 2 };

enum Act : int { ACT_NONE = 0, ACT_SILU, ACT_GELU, ACT_GELU_TANH, ACT_QUICK_GELU, ACT_RELU, ACT_RELU2, ACT_TANH, ACT_SIGMOID };

// Packed matrices.
constexpr int PANEL = 32;                         // rows of a panel
constexpr int GROUP = 64;                         // rows of a column group: rows of a packed matrix are a multiple of it
constexpr int INTEGER_COLUMNS = 64;               // columns of a matrix for integer products are padded to a multiple of it
static inline int64_t integer_columns(int64_t k) { return (k + INTEGER_COLUMNS - 1) / INTEGER_COLUMNS * INTEGER_COLUMNS; }

// Attention.
constexpr int KV_BLOCK = 16;                      // tokens of a block
constexpr int SPAN_BLOCKS = 4;                    // blocks of a span, which is what a kernel reads at once
constexpr int SEGMENT_SPANS = 8;                  // spans of a segment, each of which has a state (a split-KV partial)
constexpr int SPLIT_QUERIES = 16;                 // sequences with at most this many queries are split by segments
constexpr int STATE_VALUES = 32;                  // floats of a state before its weighted values
constexpr int LARGEST_HEAD = 256;                 // dimensions of a head

// Operators with a state for each sequence.
constexpr int64_t CONV_LONGEST = 16;              // kernel size of a causal convolution
constexpr int64_t LARGEST_KEY = 256;              // dimensions of a key of the gated delta rule
constexpr int64_t LARGEST_STATE = 256;            // state size of Mamba
