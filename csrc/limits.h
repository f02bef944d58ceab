// Constants that the kernels share with Python, which reads them by name from `weft._native.limits` (bind_limits.cpp).
// Python repeats some of them for installations without the extension; tests/ops/test_limits.py compares the two.
#pragma once

#include <stdint.h>

// Element types of tensors.
enum DType : int { F32 = 0, BF16 = 1, F16 = 2 };

enum Act : int {
    ACT_NONE = 0,
    ACT_SILU,
    ACT_GELU,
    ACT_GELU_TANH,
    ACT_QUICK_GELU,
    ACT_RELU,
    ACT_RELU2,
    ACT_TANH,
    ACT_SIGMOID
};

// Packed matrices.
constexpr int PANEL = 32;            // rows of a panel
constexpr int GROUP = 64;            // rows of a column group, to a multiple of which a matrix is padded
constexpr int INTEGER_COLUMNS = 64;  // columns of an integer matrix are padded to a multiple of this
static inline int64_t integer_columns(int64_t k) {
    return (k + INTEGER_COLUMNS - 1) / INTEGER_COLUMNS * INTEGER_COLUMNS;
}

// Attention.
constexpr int KV_BLOCK = 16;         // tokens of a block
constexpr int SPAN_BLOCKS = 4;       // blocks of a span, which the kernel reads at once
constexpr int SEGMENT_SPANS = 8;     // spans of a segment, which leaves one state (a split-KV partial)
constexpr int SPLIT_QUERIES = 16;    // sequences with at most this many queries are split into segments
constexpr int STATE_VALUES = 32;     // floats of a state before its weighted values
constexpr int LARGEST_HEAD = 256;    // most dimensions of a head
constexpr int LARGEST_LATENT = 576;  // the same, of keys whose last dimensions are their values

// Operators with a state for each sequence.
constexpr int64_t CONV_LONGEST = 16;    // largest kernel size of a causal convolution
constexpr int64_t LARGEST_KEY = 256;    // most dimensions of a key of the gated delta rule
constexpr int64_t LARGEST_STATE = 256;  // largest state size of Mamba
