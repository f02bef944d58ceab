"""`Attention`: paged attention for foreign models. Binding gives it its cache, and its way to the step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weft.errors import NotBuiltError
from weft.layers.context import LayerContext
from weft.layers.paged_attention import PagedAttention
from weft.layers.public.layer import PublicLayer, StepRef, unsupported
from weft.ops.attention import AttentionParams


class Attention(PublicLayer):
    """Softmax attention of a step's queries over the cache. Arguments as vLLM's class of this name."""

    def __init__(self, num_heads: int, head_size: int, scale: float, num_kv_heads: int | None = None,
                 alibi_slopes: Any = None, cache_config: Any = None, quant_config: Any = None,
                 logits_soft_cap: float | None = None, per_layer_sliding_window: int | None = None, prefix: str = "",
                 attn_type: str = "decoder", kv_sharing_target_layer_name: str | None = None,
                 sinks: Tensor | None = None) -> None:
        super().__init__()
        unsupported("Attention", alibi_slopes=alibi_slopes, kv_sharing_target_layer_name=kv_sharing_target_layer_name)
        if attn_type != "decoder":
            raise NotBuiltError("Attention.attn_type", attn_type, expected='"decoder"',
                                hint="Encoders and cross attention of programmed models are not built yet.")
        self.num_heads, self.head_size, self.scale = num_heads, head_size, scale
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        self.window, self.soft_cap, self.sinks, self.layer_name = (
            per_layer_sliding_window, logits_soft_cap, sinks, prefix)
        self._step = StepRef()

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer; the layer gets a cache of its own."""
        super().bind(context, step)
        self._step = step
        sinks = None if self.sinks is None else self.sinks.detach().float().contiguous()
        self.paged = PagedAttention(
            num_heads=self.num_heads, num_kv_heads=self.num_kv_heads, head_dim=self.head_size, window=self.window,
            params=AttentionParams(scale=self.scale, softcap=self.soft_cap, sinks=sinks), context=context)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, output_shape: Any = None) -> Tensor:
        """query [T, H * D] or [T, H, D]; key, value alike with the KV heads. Returns [T, H * D], or query's shape."""
        step = self._step.current(self)
        q = self._heads("query", query, self.num_heads, step)
        k, v = (self._heads(name, x, self.num_kv_heads, step) for name, x in (("key", key), ("value", value)))
        out = self.paged(q, k, v, step, torch.empty(q.shape, dtype=q.dtype))
        return out.reshape(query.shape if output_shape is None else output_shape)

    def _heads(self, name: str, x: Tensor, heads: int, step: Any) -> Tensor:
        """[T, heads, D] with rows and heads without gaps. ValueError names the argument that does not fit."""
        context, rows = self.bound(), len(step.input_ids)
        if x.dtype != context.dtype or x.device.type != context.device:
            raise ValueError(f"Attention: {name} is {x.dtype} on {x.device}, expected {context.dtype} on "
                             f"{context.device}, the model's")
        if x.dim() not in (2, 3) or x.shape[0] != rows or x[:1].numel() != min(rows, 1) * heads * self.head_size:
            raise ValueError(f"Attention: {name} is {list(x.shape)}, expected [{rows}, {heads * self.head_size}] or "
                             f"[{rows}, {heads}, {self.head_size}]: the step's {rows} tokens")
        return x.reshape(rows, heads, self.head_size).contiguous()
