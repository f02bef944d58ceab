"""The layers that models of other people are built from, under vLLM's names and arguments.

A model's constructor makes them by sizes alone; the engine then binds them to a dtype, kernels, caches and steps.
They own the memory of their results, take strided and aliased inputs, and run under torch's hooks.
"""

from __future__ import annotations

from weft.layers.public.activation import (
    XIELU,
    FastGELU,
    FatreluAndMul,
    GeluAndMul,
    MulAndSilu,
    NewGELU,
    QuickGELU,
    ReLUSquaredActivation,
    SiluAndMul,
    SiluAndMulWithClamp,
    SwigluOAIAndMul,
    get_act_and_mul_fn,
    get_act_fn,
)
from weft.layers.public.attention import (
    Attention,
    AttentionType,
    ChunkedLocalAttention,
    CrossAttention,
    EncoderOnlyAttention,
    MMEncoderAttention,
)
from weft.layers.public.auto_weights_loader import AutoWeightsLoader
from weft.layers.public.compile import ignore_torch_compile, support_torch_compile
from weft.layers.public.embedding import DEFAULT_VOCAB_PADDING_SIZE, ParallelLMHead, VocabParallelEmbedding
from weft.layers.public.fused_moe import FusedMoE, SharedFusedMoE
from weft.layers.public.layer import StepRef
from weft.layers.public.linear import (
    ColumnParallelLinear,
    MergedColumnParallelLinear,
    QKVParallelLinear,
    ReplicatedLinear,
    RowParallelLinear,
)
from weft.layers.public.logits import LogitsProcessor
from weft.layers.public.norm import GemmaRMSNorm, RMSNorm
from weft.layers.public.quant_config import QuantizationConfig
from weft.layers.public.rope import RotaryEmbedding, get_rope
from weft.layers.public.stages import (
    IntermediateTensors,
    PPMissingLayer,
    extract_layer_index,
    is_pp_missing_parameter,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
)
from weft.layers.public.weights import default_weight_loader, maybe_remap_kv_scale_name, set_weight_attrs
from weft.layers.public.weights_mapper import WeightsMapper

__all__ = [
    "DEFAULT_VOCAB_PADDING_SIZE",
    "XIELU",
    "Attention",
    "AttentionType",
    "AutoWeightsLoader",
    "ChunkedLocalAttention",
    "ColumnParallelLinear",
    "CrossAttention",
    "EncoderOnlyAttention",
    "FastGELU",
    "FatreluAndMul",
    "FusedMoE",
    "GeluAndMul",
    "GemmaRMSNorm",
    "IntermediateTensors",
    "LogitsProcessor",
    "MMEncoderAttention",
    "MergedColumnParallelLinear",
    "MulAndSilu",
    "NewGELU",
    "PPMissingLayer",
    "ParallelLMHead",
    "QKVParallelLinear",
    "QuantizationConfig",
    "QuickGELU",
    "RMSNorm",
    "ReLUSquaredActivation",
    "ReplicatedLinear",
    "RotaryEmbedding",
    "RowParallelLinear",
    "SharedFusedMoE",
    "SiluAndMul",
    "SiluAndMulWithClamp",
    "StepRef",
    "SwigluOAIAndMul",
    "VocabParallelEmbedding",
    "WeightsMapper",
    "default_weight_loader",
    "extract_layer_index",
    "get_act_and_mul_fn",
    "get_act_fn",
    "get_rope",
    "ignore_torch_compile",
    "is_pp_missing_parameter",
    "make_empty_intermediate_tensors_factory",
    "make_layers",
    "maybe_prefix",
    "maybe_remap_kv_scale_name",
    "set_weight_attrs",
    "support_torch_compile",
]
