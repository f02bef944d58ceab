"""Numbers that Python writes down, for installations without the extension, are those of the compiled kernels."""

import pytest
import torch

from weft.config.engine_args import KV_CACHE_DTYPES
from weft.ops import nodes
from weft.ops.activation.cpu import ACTS
from weft.ops.attention import KV_DTYPES, shared_prefix
from weft.ops.attention import cpu as attention
from weft.ops.causal_conv import cpu as conv
from weft.ops.gated_delta import cpu as gated_delta
from weft.ops.linear import cpu as linear
from weft.ops.linear import integers
from weft.ops.mamba import cpu as mamba
from weft.ops.native import DTYPES, extension, is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="weft was installed without its native kernels")


def test_sizes_of_attention_are_those_of_the_kernels():
    limits = extension().limits

    assert (limits["KV_BLOCK"], limits["SPAN_BLOCKS"]) == (attention.BLOCK_SIZE, shared_prefix.SPAN_BLOCKS)
    assert limits["SPLIT_QUERIES"] == attention.SPLIT_QUERIES
    assert limits["SEGMENT_SPANS"] * limits["SPAN_BLOCKS"] * limits["KV_BLOCK"] == attention.SEGMENT
    assert limits["STATE_VALUES"] == attention.STATE_VALUES
    assert limits["LARGEST_HEAD"] == attention.MAX_HEAD_DIM
    assert limits["LARGEST_LATENT"] == attention.MAX_LATENT_DIM


def test_largest_sizes_of_scans_are_those_of_the_kernels():
    limits = extension().limits

    assert limits["CONV_LONGEST"] == conv.LONGEST
    assert limits["LARGEST_KEY"] == gated_delta.LARGEST_KEY
    assert limits["LARGEST_STATE"] == mamba.LARGEST_STATE


def test_paddings_of_packed_matrices_are_those_of_the_kernels():
    limits = extension().limits

    assert (limits["PANEL"], limits["GROUP"]) == (nodes.PANEL, linear.ROW_PADDING)
    assert (limits["W_S8"], limits["INTEGER_COLUMNS"]) == (integers.KIND, integers.COLUMN_PADDING)


def test_numbers_of_types_are_those_of_the_kernels():
    limits = extension().limits

    assert {torch.float32: limits["F32"], torch.bfloat16: limits["BF16"], torch.float16: limits["F16"]} == DTYPES
    kinds = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float8_e4m3fn: "E4M3",
             torch.float8_e5m2: "E5M2", torch.int8: "INT8"}
    assert {dtype: limits[f"KV_{kind}"] for dtype, kind in kinds.items()} == attention.KINDS
    assert set(attention.KINDS) == set(KV_DTYPES.values()) and set(KV_DTYPES) == set(KV_CACHE_DTYPES)
    scales = {torch.float32: "F32", torch.float16: "F16", torch.uint8: "U8", torch.int8: "I8"}
    assert {dtype: limits[f"S_{kind}"] for dtype, kind in scales.items()} == linear.SCALES


def test_numbers_of_activations_are_those_of_the_kernels():
    by_name = {
        None: "NONE", "silu": "SILU", "swish": "SILU", "gelu": "GELU", "gelu_new": "GELU_TANH",
        "gelu_fast": "GELU_TANH", "gelu_pytorch_tanh": "GELU_TANH", "quick_gelu": "QUICK_GELU", "relu": "RELU",
        "relu2": "RELU2", "tanh": "TANH", "sigmoid": "SIGMOID"}

    assert {name: extension().limits[f"ACT_{act}"] for name, act in by_name.items()} == ACTS
