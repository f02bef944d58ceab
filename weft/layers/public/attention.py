"""`Attention`: paged attention for foreign models. Binding gives it its cache, and its way to the step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from weft.errors import ConfigError, NotBuiltError
from weft.layers.context import LayerContext
from weft.layers.paged_attention import PagedAttention
from weft.layers.public.layer import PublicLayer, StepRef, check_input, check_sizes, unsupported
from weft.ops.attention import AttentionParams


class Attention(PublicLayer):
    """Softmax attention of a step's queries over the cache. Arguments as vLLM's class of this name."""

    def __init__(self, num_heads: int, head_size: int, scale: float, num_kv_heads: int | None = None,
                 alibi_slopes: Any = None, cache_config: Any = None, quant_config: Any = None,
                 logits_soft_cap: float | None = None, per_layer_sliding_window: int | None = None, prefix: str = "",
                 attn_type: str = "decoder", kv_sharing_target_layer_name: str | None = None,
                 sinks: Tensor | None = None) -> None:
        super().__init__(quant_config, prefix)
        unsupported("Attention", alibi_slopes=alibi_slopes,
                    kv_sharing_target_layer_name=kv_sharing_target_layer_name)
        if attn_type != "decoder":
            raise NotBuiltError("Attention.attn_type", attn_type, expected='"decoder"',
                                hint="Encoders and cross attention of programmed models are not built yet.")
        self.num_heads, self.head_size, self.scale = num_heads, head_size, scale
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_sizes(self, num_heads=num_heads, head_size=head_size, num_kv_heads=self.num_kv_heads)
        if num_heads % self.num_kv_heads:
            raise ConfigError("Attention.num_kv_heads", self.num_kv_heads, expected=f"a divisor of {num_heads} heads")
        if per_layer_sliding_window is not None:
            check_sizes(self, per_layer_sliding_window=per_layer_sliding_window)
        if sinks is not None and sinks.shape != (num_heads,):
            raise ConfigError("Attention.sinks", list(sinks.shape), expected=f"[{num_heads}], one for each head")
        self.window, self.soft_cap, self.layer_name = per_layer_sliding_window, logits_soft_cap, prefix
        self._sinks = (sinks,)                                # in a tuple: the parameter is another module's
        self._step = StepRef()

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer; the layer gets its own part of the paged cache."""
        super().bind(context, step)
        self._step = step
        self.paged = PagedAttention(
            num_heads=self.num_heads, num_kv_heads=self.num_kv_heads, head_dim=self.head_size, window=self.window,
            params=AttentionParams(scale=self.scale, softcap=self.soft_cap, sinks=self._sinks[0]), context=context)

    def finish_loading(self) -> None:
        """As Layer: sinks are read now, when their module has been loaded."""
        (sinks,) = self._sinks
        if sinks is not None:
            self.paged.params = replace(self.paged.params, sinks=sinks.detach().float().clone())
        super().finish_loading()

    def forward(self, query: Tensor, key: Tensor, value: Tensor, output_shape: Any = None) -> Tensor:
        """query [T, H * D] or [T, H, D]; key, value alike with Hkv heads. Returns query's shape, or output_shape.

        RuntimeError outside a step, and when it is called twice in one: the cache has one key for each token.
        """
        self.ready()
        step = self._step.current(self)
        rows = len(step.input_ids)
        q = self._heads("query", query, self.num_heads, rows)
        k, v = (self._heads(name, x, self.num_kv_heads, rows) for name, x in (("key", key), ("value", value)))
        if self in self._step.memo:
            raise RuntimeError(f"Attention {self.layer_name} was called twice in a step: its cache has one key and one "
                               "value for each token. Make an Attention for each place where the model attends.")
        self._step.memo[self] = True
        out = self.paged(q, k, v, step, torch.empty(q.shape, dtype=q.dtype))
        return out.reshape(query.shape if output_shape is None else output_shape)

    def _heads(self, name: str, x: Tensor, heads: int, rows: int) -> Tensor:
        """[T, heads, D], a token's heads together. ValueError names the argument that does not fit."""
        check_input(self, name, x, self.ready())
        if x.shape not in ((rows, heads * self.head_size), (rows, heads, self.head_size)):
            raise ValueError(f"Attention: {name} is {list(x.shape)}, expected [{rows}, {heads * self.head_size}] or "
                             f"[{rows}, {heads}, {self.head_size}]: the step's {rows} tokens")
        x = x.reshape(rows, heads, self.head_size)
        return x if x.stride()[1:] == (self.head_size, 1) else x.contiguous()
