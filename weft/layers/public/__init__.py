"""The layers that models of other people are built from, under vLLM's names and arguments.

A model's constructor makes them by sizes alone; the engine then binds them to a dtype, kernels, caches and steps.
They own the memory of their results, take strided and aliased inputs, and run under torch's hooks.
"""

from __future__ import annotations

from weft.layers.public.activation import GeluAndMul, SiluAndMul
from weft.layers.public.attention import Attention
from weft.layers.public.embedding import ParallelLMHead, VocabParallelEmbedding
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
from weft.layers.public.rope import RotaryEmbedding, get_rope
from weft.layers.public.weights import default_weight_loader, maybe_prefix

__all__ = [
    "Attention", "ColumnParallelLinear", "GeluAndMul", "GemmaRMSNorm", "LogitsProcessor", "MergedColumnParallelLinear",
    "ParallelLMHead", "QKVParallelLinear", "RMSNorm", "ReplicatedLinear", "RotaryEmbedding", "RowParallelLinear",
    "SiluAndMul", "StepRef", "VocabParallelEmbedding", "default_weight_loader", "get_rope", "maybe_prefix",
]
