"""Qwen3 as a programmed model: Qwen2 with norms of q and k. Classes and attribute names as vLLM's module of this name.

Source: arXiv:2505.09388, and the config and tensor names of Qwen/Qwen3-0.6B.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from weft.models.library.qwen2 import (
    Qwen2Attention,
    Qwen2DecoderLayer,
    Qwen2ForCausalLM,
    Qwen2MLP,
    Qwen2Model,
    window_of,
)
from weft.models.vllm.layers import RMSNorm

Qwen3MLP = Qwen2MLP


class Qwen3Attention(Qwen2Attention):
    """Grouped-query attention whose heads of q and k are normed before their rotation."""

    def __init__(self, hidden_size: int, num_heads: int, num_kv_heads: int,
                 rope_parameters: Mapping[str, Any] | None = None, max_position: int = 4096 * 32,
                 head_dim: int | None = None, rms_norm_eps: float = 1e-6, qkv_bias: bool = False,
                 cache_config: Any = None, quant_config: Any = None, prefix: str = "", attn_type: str = "decoder",
                 dual_chunk_attention_config: Any = None, *, per_layer_sliding_window: int | None = None) -> None:
        self.qkv_bias = self.o_bias = qkv_bias
        super().__init__(hidden_size, num_heads, num_kv_heads, rope_parameters, max_position, cache_config,
                         quant_config, prefix, attn_type, dual_chunk_attention_config, head_dim=head_dim,
                         per_layer_sliding_window=per_layer_sliding_window)
        self.q_norm = RMSNorm(self.head_dim, eps=rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, eps=rms_norm_eps)

    def normed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """q [T, H * D] and k [T, Hkv * D], each head normed."""
        return (self.q_norm(q.view(*q.shape[:-1], -1, self.head_dim)).view(q.shape),
                self.k_norm(k.view(*k.shape[:-1], -1, self.head_dim)).view(k.shape))


class Qwen3DecoderLayer(Qwen2DecoderLayer):
    """A layer with Qwen3's attention."""

    def make_attention(self, config: Any, cache_config: Any, quant_config: Any, prefix: str) -> nn.Module:
        """As Qwen2DecoderLayer."""
        return Qwen3Attention(config.hidden_size, config.num_attention_heads, config.num_key_value_heads,
                              config.rope_parameters, config.max_position_embeddings, config.head_dim,
                              config.rms_norm_eps, config.attention_bias, cache_config, quant_config, prefix,
                              per_layer_sliding_window=window_of(config, prefix))


class Qwen3Model(Qwen2Model):
    """As Qwen2Model, of Qwen3's layers."""

    def __init__(self, *, vllm_config: Any, prefix: str = "",
                 decoder_layer_type: Callable[..., nn.Module] = Qwen3DecoderLayer) -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix, decoder_layer_type=decoder_layer_type)


class Qwen3ForCausalLM(Qwen2ForCausalLM):
    """Qwen3 with its head."""

    model_type = Qwen3Model
