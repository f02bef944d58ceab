"""Gemma 2 as a programmed model, with the classes and attribute names of vLLM's module of this name.

Source: arXiv:2408.00118, and the config and tensor names of google/gemma-2-2b.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.layers.public import (
    AutoWeightsLoader,
    GeluAndMul,
    GemmaRMSNorm,
    LogitsProcessor,
    MergedColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    WeightsMapper,
    extract_layer_index,
    get_rope,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
)
from weft.models.library.ends import DecoderStack, HeadedModel
from weft.models.vllm.layers import Attention
from weft.parallel import get_tensor_model_parallel_world_size

_STACKED = {f".{name}_proj.": (".qkv_proj.", name) for name in "qkv"} | {
    ".gate_proj.": (".gate_up_proj.", 0), ".up_proj.": (".gate_up_proj.", 1)}


class Gemma2MLP(nn.Module):
    """A gated MLP with GELU by a tanh. forward: [T, E] -> [T, E]."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str | None, hidden_activation: str,
                 quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        if hidden_activation != "gelu_pytorch_tanh":
            raise ConfigError("hidden_activation", hidden_activation, expected="gelu_pytorch_tanh, as in Gemma 2")
        self.gate_up_proj = MergedColumnParallelLinear(hidden_size, [intermediate_size] * 2, bias=False,
                                                       quant_config=quant_config, prefix=f"{prefix}.gate_up_proj")
        self.down_proj = RowParallelLinear(intermediate_size, hidden_size, bias=False, quant_config=quant_config,
                                           prefix=f"{prefix}.down_proj")
        self.act_fn = GeluAndMul(approximate="tanh")

    def forward(self, x: Tensor) -> Tensor:
        """[T, E] -> [T, E]."""
        gate_up, _ = self.gate_up_proj(x)
        out, _ = self.down_proj(self.act_fn(gate_up))
        return out


class Gemma2Attention(nn.Module):
    """Attention with a soft cap; layers of the config's type "sliding_attention" see a window."""

    def __init__(self, config: Any, hidden_size: int, num_heads: int, num_kv_heads: int, head_dim: int,
                 max_position_embeddings: int, cache_config: Any = None, quant_config: Any = None,
                 attn_logits_soft_cap: float | None = None, prefix: str = "") -> None:
        super().__init__()
        self.config, self.hidden_size, self.head_dim = config, hidden_size, head_dim
        ranks = get_tensor_model_parallel_world_size()
        self.total_num_heads, self.total_num_kv_heads = num_heads, num_kv_heads
        self.num_heads, self.num_kv_heads = num_heads // ranks, max(1, num_kv_heads // ranks)
        self.q_size, self.kv_size = self.num_heads * head_dim, self.num_kv_heads * head_dim
        self.scaling = config.query_pre_attn_scalar ** -0.5
        self.qkv_proj = QKVParallelLinear(hidden_size, head_dim, num_heads, num_kv_heads, bias=config.attention_bias,
                                          quant_config=quant_config, prefix=f"{prefix}.qkv_proj")
        self.o_proj = RowParallelLinear(num_heads * head_dim, hidden_size, bias=config.attention_bias,
                                        quant_config=quant_config, prefix=f"{prefix}.o_proj")
        self.rotary_emb = get_rope(head_dim, max_position=max_position_embeddings,
                                   rope_parameters=config.rope_parameters)
        is_sliding = config.layer_types[extract_layer_index(prefix)] == "sliding_attention"
        self.sliding_window = config.sliding_window if is_sliding else None
        self.attn = Attention(self.num_heads, head_dim, self.scaling, num_kv_heads=self.num_kv_heads,
                              cache_config=cache_config, quant_config=quant_config,
                              logits_soft_cap=attn_logits_soft_cap, per_layer_sliding_window=self.sliding_window,
                              prefix=f"{prefix}.attn")

    def forward(self, positions: Tensor, hidden_states: Tensor) -> Tensor:
        """[T], [T, E] -> [T, E]."""
        qkv, _ = self.qkv_proj(hidden_states)
        q, k, v = qkv.split([self.q_size, self.kv_size, self.kv_size], dim=-1)
        q, k = self.rotary_emb(positions, q, k)
        out, _ = self.o_proj(self.attn(q, k, v))
        return out


class Gemma2DecoderLayer(nn.Module):
    """A layer with a norm before and after each of its two parts."""

    def __init__(self, config: Any, cache_config: Any = None, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.hidden_size = config.hidden_size
        self.self_attn = Gemma2Attention(
            config, config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim,
            config.max_position_embeddings, cache_config, quant_config, config.attn_logit_softcapping,
            prefix=f"{prefix}.self_attn")
        self.mlp = Gemma2MLP(config.hidden_size, config.intermediate_size, getattr(config, "hidden_act", None),
                             config.hidden_activation, quant_config, prefix=f"{prefix}.mlp")
        size, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = GemmaRMSNorm(size, eps)
        self.post_attention_layernorm = GemmaRMSNorm(size, eps)
        self.pre_feedforward_layernorm = GemmaRMSNorm(size, eps)
        self.post_feedforward_layernorm = GemmaRMSNorm(size, eps)

    def forward(self, positions: Tensor, hidden_states: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """(what the next norm adds to the residual stream, the stream), each [T, E]."""
        stream = hidden_states
        if residual is None:
            hidden_states = self.input_layernorm(hidden_states)
        else:
            hidden_states, stream = self.input_layernorm(hidden_states, residual)
        hidden_states = self.post_attention_layernorm(self.self_attn(positions, hidden_states))
        hidden_states, stream = self.pre_feedforward_layernorm(hidden_states, stream)
        hidden_states = self.post_feedforward_layernorm(self.mlp(hidden_states))
        return hidden_states, stream


class Gemma2Model(DecoderStack):
    """Embedding times the root of its width, layers, final norm."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config, self.quant_config = config, vllm_config.quant_config
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size)
        self.start_layer, self.end_layer, self.layers = make_layers(
            config.num_hidden_layers,
            lambda prefix: Gemma2DecoderLayer(config, vllm_config.cache_config, vllm_config.quant_config, prefix),
            prefix=f"{prefix}.layers")
        self.norm = GemmaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        # Rounded to the model's dtype, as the checkpoints were trained.
        self.register_buffer("normalizer", torch.tensor(config.hidden_size ** 0.5, dtype=torch.get_default_dtype()),
                             persistent=False)
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states", "residual"], config.hidden_size)

    def entering(self, embeddings: Tensor) -> Tensor:
        """As DecoderStack: the embeddings times the root of their width."""
        return embeddings * self.get_buffer("normalizer")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """As AutoWeightsLoader, with q, k, v and gate, up as parts of one matrix each."""
        return AutoWeightsLoader(self).load_weights(weights, mapper=WeightsMapper(orig_to_new_stacked=_STACKED))


class Gemma2ForCausalLM(HeadedModel):
    """Gemma 2 with its head: the embedding's table, and a soft cap."""

    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"],        # noqa: RUF012
                              "gate_up_proj": ["gate_proj", "up_proj"]}

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config, self.quant_config = config, vllm_config.quant_config
        if not config.tie_word_embeddings:
            raise ConfigError("tie_word_embeddings", False, expected="true, as in Gemma 2")
        self.model = Gemma2Model(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        self.logits_processor = LogitsProcessor(config.vocab_size, soft_cap=config.final_logit_softcapping)
        self.make_empty_intermediate_tensors = self.model.make_empty_intermediate_tensors

    def compute_logits(self, hidden_states: Tensor, *older: Any) -> Tensor | None:
        """[N, E] -> [N, V]. older: sampling metadata of older vLLM, not used."""
        return self.logits_processor(self.model.embed_tokens, hidden_states)
