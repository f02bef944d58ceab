"""Layers, the loading of weights and parallel groups."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

_PUBLIC = "weft.layers.public"
_LAYERS = "vllm.model_executor.layers"
_ATTENTION = ("vllm.attention", "vllm.attention.layer", f"{_LAYERS}.attention", f"{_LAYERS}.attention.attention",
              f"{_LAYERS}.attention_layer_base", "vllm.model_executor.layers.attention.layer")

LAYERS = (
    Row(_PUBLIC, "ColumnParallelLinear MergedColumnParallelLinear QKVParallelLinear ReplicatedLinear RowParallelLinear",
        f"{_LAYERS}.linear"),
    Row(_PUBLIC, "ParallelLMHead VocabParallelEmbedding", f"{_LAYERS}.vocab_parallel_embedding"),
    Row("weft.layers.public.embedding", "DEFAULT_VOCAB_PADDING_SIZE", f"{_LAYERS}.vocab_parallel_embedding"),
    Row(_PUBLIC, "LogitsProcessor", f"{_LAYERS}.logits_processor"),
    Row(_PUBLIC, "Attention", *_ATTENTION),
    Row(_PUBLIC, "RotaryEmbedding get_rope", f"{_LAYERS}.rotary_embedding", f"{_LAYERS}.rotary_embedding.base"),
    Row(_PUBLIC, "RMSNorm GemmaRMSNorm", f"{_LAYERS}.layernorm"),
    Row(_PUBLIC, "SiluAndMul GeluAndMul", f"{_LAYERS}.activation"),
    Row(_PUBLIC, "default_weight_loader", "vllm.model_executor.model_loader.weight_utils",
        "vllm.model_executor.weight_utils"),
    Row(_PUBLIC, "maybe_prefix", "vllm.model_executor.models.utils"),
)
