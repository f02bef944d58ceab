"""`PagedAttention`: the part of every attention layer that owns a cache. It knows no weights.

Whoever has queries, keys and values of a step may call it. weft's own mixers, whose tensors are as kernels want them,
build it without checks.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from weft.cache.masks import Causal, Mask
from weft.cache.need import EncoderNeed, TokensNeed
from weft.layers.context import LayerContext
from weft.layers.layer import Layer, StepLimits
from weft.ops.attention import (
    KV_DTYPES,
    AttentionCase,
    AttentionParams,
    AttentionPlan,
    cache_shape,
    check_attention,
    choose_attention,
)
from weft.ops.attention.cpu import SPLIT_QUERIES, THREAD_BYTES, state_bytes
from weft.ops.attention.pieces import MIN_TILE, TILE_SCORES
from weft.ops.step import Step


class PagedAttention(Layer):
    """Attention of a step's queries over the keys and values in the cache, this step's included.

    is_cross: keys and values are of an encoder's tokens, which come in the step in which their sequence starts.
    window: tokens a query sees, itself included; None: all that the mask allows.
    is_checked: what `forward` is given may be of any shape and layout, as tensors of others are.
    With params.value_dim keys are latents: one tensor is cached, and values are part of it.
    need: what the layer stores, for the memory plan. group: number of its cache group, given when caches are bound.
    """

    def __init__(self, *, num_heads: int, num_kv_heads: int, head_dim: int, params: AttentionParams,
                 context: LayerContext, window: int | None = None, mask: Mask = Causal(),
                 is_checked: bool = True, is_cross: bool = False) -> None:
        super().__init__()
        self.is_checked = is_checked
        self.num_heads, self.num_kv_heads, self.head_dim, self.params = num_heads, num_kv_heads, head_dim, params
        self.dtype, self.value_dim = context.dtype, params.value_dim or head_dim
        self.cache_dtype = context.dtype if context.cache is None else KV_DTYPES[context.cache.dtype]
        self.block_size = 16 if context.cache is None else context.cache.block_size
        self.choice = choose_attention(AttentionCase(
            device=context.device, dtype=context.dtype, head_dim=head_dim, softcap=params.softcap is not None,
            alibi=params.alibi is not None, sinks=params.sinks is not None, relative=params.relative is not None,
            isa=context.isa, cache_dtype=self.cache_dtype, block_size=self.block_size, value_dim=params.value_dim))
        per_token = sum(prod(shape) for shape in self.cache_shapes(1)) * self.cache_dtype.itemsize // self.block_size
        self.need = EncoderNeed(per_token) if is_cross else TokensNeed(per_token, window, mask)
        self.group = 0
        self.k_cache = torch.empty(0)
        self.v_cache: Tensor | None = self.k_cache

    @property
    def window(self) -> int | None:
        """Tokens that a query sees, itself included; None: all that the mask allows."""
        return self.need.window if isinstance(self.need, TokensNeed) else None

    def cache_shapes(self, num_blocks: int) -> tuple[tuple[int, ...], ...]:
        """Of the layer's tensors in the cache: keys and values, or latents."""
        shape = cache_shape(num_blocks, self.num_kv_heads, self.block_size, self.head_dim, self.cache_dtype)
        return (shape,) if self.params.value_dim is not None else (shape, shape)

    @property
    def cache_dtypes(self) -> tuple[torch.dtype, ...]:
        """Of the tensors of `cache_shapes`."""
        return (self.cache_dtype,) * (1 if self.params.value_dim is not None else 2)

    def bind_cache(self, tensors: tuple[Tensor, ...], group: int) -> None:
        """Take the layer's tensors, of `cache_shapes`, and the number of its cache group."""
        self.k_cache, self.v_cache = tensors if len(tensors) == 2 else (*tensors, None)
        self.group = group

    def forward(self, q: Tensor, k: Tensor | None, v: Tensor | None, step: Step, out: Tensor | None = None) -> Tensor:
        """Write k and v (None: latents) to the cache, then attend: [T, H, D] in q's dtype; latents: [T, H, value_dim].

        q: [T, H, D]; k, v: [T, Hkv, D], with `is_cross` [N, Hkv, D] of the encoder's new tokens, or None where the
        plan has no slots; a token's heads lie together. out: contiguous [T, H, D], where the result may be written.
        With `is_checked`, FieldError for what the kernel would misread (ops/attention/check.py).
        """
        plan = step.caches[self.group]
        if self.is_checked:
            assert self.v_cache is not None, "latents come from weft's own layer"
            assert isinstance(plan, AttentionPlan), "the group of a layer with keys and values has their plan"
            check_attention(q, k, v, self.k_cache, self.v_cache, plan, self.params, out)
        return self.choice.run(q, k, v, self.k_cache, self.v_cache, plan, self.params, out)

    def write(self, k: Tensor, v: Tensor, step: Step) -> None:
        """Write k and v [N, Hkv, D] to the plan's slots and attend to nothing."""
        plan = step.caches[self.group]
        assert isinstance(plan, AttentionPlan), "the group of a layer with keys and values has their plan"
        none = k.new_empty(0, self.num_heads, self.head_dim)
        self.choice.run(none, k, v, self.k_cache, self.v_cache, plan.without_queries(), self.params)

    def read(self, q: Tensor, step: Step, out: Tensor | None = None) -> Tensor:
        """As `forward`, over keys and values that the layer whose cache this is has written in this step."""
        plan = step.caches[self.group]
        assert isinstance(plan, AttentionPlan), "the group of a layer with keys and values has their plan"
        plan = plan.without_slots()
        assert self.v_cache is not None, "no other layer reads latents"
        none = q.new_empty(0, self.num_kv_heads, self.head_dim)
        check_attention(q, none, none, self.k_cache, self.v_cache, plan, self.params, out)
        return self.choice.run(q, none, none, self.k_cache, self.v_cache, plan, self.params, out)

    def step_bytes(self, limits: StepLimits) -> int:
        """As Layer. Native: states of a chunk's last rows beside a whole context, and threads' buffers; else scores."""
        if self.is_native:
            rows = min(SPLIT_QUERIES, limits.num_tokens)
            states = int(rows * state_bytes(self.num_heads, self.value_dim, limits.max_model_len))
            return states + limits.num_threads * THREAD_BYTES
        tile = max(TILE_SCORES, MIN_TILE * limits.max_model_len)                       # queries * keys of one call
        scores = min(tile, limits.num_tokens * limits.max_model_len)
        scored = 2 * scores * self.num_heads * (4 + self.dtype.itemsize)
        terms = self.params.relative
        rows = 0 if terms is None else max(x.shape[1] for x in (terms.keys, terms.queries, terms.rows[None])
                                           if x is not None)
        return scored + limits.max_model_len * rows * self.num_heads * self.dtype.itemsize     # products by row

    def bytes_per_cached_token(self) -> float:
        """Bytes that a step needs for each cached token that it reads: split-KV partials, or the gathered k and v."""
        if self.is_native:
            return state_bytes(self.num_heads, self.value_dim, 1)
        return 2 * self.need.bytes_per_token

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.num_heads * (self.head_dim + self.value_dim) * min(context_len, self.window or context_len)
