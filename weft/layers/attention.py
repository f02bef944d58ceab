"""Attention as a module: one product for q, k and v, norms, rotation, the paged cache, one product out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from weft.architectures.spec import Alibi, AttentionSpec, MLASpec, QKNorm, Rope
from weft.cache.masks import CAUSAL, Bidirectional
from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home, Layer
from weft.layers.linear import Linear
from weft.layers.norm import Norm, norm_options
from weft.layers.paged_attention import PagedAttention
from weft.layers.shard import Span, needs_sums
from weft.ops.attention import AlibiBias, AttentionParams, alibi_slopes
from weft.ops.qk import QKCase, choose_qk
from weft.ops.step import Step


class SelfAttention(Layer):
    """An AttentionSpec with its weights. spec: of the heads that are built, all or a shard's."""

    def __init__(self, spec: AttentionSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        heads = context.divided("num_attention_heads", spec.num_heads)
        kv_heads = context.shared("num_key_value_heads", spec.num_kv_heads)
        self.spec = spec = replace(spec, num_heads=len(heads), num_kv_heads=len(kv_heads))
        self.heads, queries, keys = heads, heads.times(spec.head_dim), kv_heads.times(spec.head_dim)
        self.qkv = Linear(hidden_size, {"q": queries, "k": keys, "v": keys}, bias=spec.qkv_bias, context=context)
        self.out = Linear(queries, {"o": hidden_size}, bias=spec.out_bias, context=context)
        self.q_norm = _qk_norm(spec.qk_norm, heads, spec.head_dim, context)
        self.k_norm = _qk_norm(spec.qk_norm, kv_heads, spec.head_dim, context)
        self.qk_choice = choose_qk(_qk_case(spec, context))
        self.transform_qk: Callable[..., None] = NOT_FINISHED   # its pass over q and k, with the norms' weights
        self.paged = PagedAttention(
            num_heads=spec.num_heads, num_kv_heads=spec.num_kv_heads, head_dim=spec.head_dim, window=spec.window,
            mask=spec.mask if isinstance(spec.mask, Bidirectional) else CAUSAL,
            params=AttentionParams(scale=spec.scale, softcap=spec.softcap, alibi=_alibi(spec, heads)), context=context,
            is_checked=False)
        self.scratch = context.scratch

    def forward(self, x: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None,
                residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned.

        angles: cos and sin of the tokens' positions, [T, R / 2] float32, when the spec has rotary positions.
        """
        return self.out(self.attended(x, step, angles), residual, alpha)

    def attended(self, x: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        """[T, E] -> [T, H * D], all heads' results before the product out."""
        spec = self.spec
        heads, kv_heads = spec.num_heads, spec.num_kv_heads
        qkv = self.qkv(x).view(-1, heads + 2 * kv_heads, spec.head_dim)                # [T, H + 2 Hkv, D]
        self.transform_qk(qkv, angles)
        q, k, v = qkv.split_with_sizes((heads, kv_heads, kv_heads), dim=1)
        out = self.scratch.take("attended", q.shape[0], heads * spec.head_dim, q.dtype)
        out = self.paged(q, k, v, step, out.view(q.shape))
        return out.reshape(-1, heads * spec.head_dim)

    def finish_loading(self) -> None:
        """Give the weights of q's and k's norms to their kernel."""
        if self.spec.qk_norm is not None and self.spec.qk_norm.scope == "all" and not self.heads.is_whole:
            self.transform_qk = self._refuse
            return
        q, k = self.q_norm, self.k_norm
        norms = () if q is None or k is None else (q.weight, k.weight, q.bias, k.bias)
        self.transform_qk = self.qk_choice.prepare(*(None if p is None else p.data for p in norms))

    def _refuse(self, qkv: Tensor, angles: tuple[Tensor, Tensor] | None) -> None:
        """Instead of the norms of q and k: those over all heads."""
        raise needs_sums("qk_norm.scope=all", self.heads)

    @property
    def rope(self) -> Rope | None:
        """The rotary positions this layer wants, if any."""
        return self.spec.positions if isinstance(self.spec.positions, Rope) else None

    def token_bytes(self, native: bool) -> int:
        """As Layer."""
        return heads_bytes(self.spec, self.out.epilogue.out_dtype, native)

    def homes(self) -> dict[str, Home]:
        homes = self.own_homes() | self.qkv.homes() | self.out.homes()
        for name in ("q_norm", "k_norm"):
            norm = getattr(self, name)
            if norm is not None:
                homes |= {f"{name}.{home}": view for home, view in norm.homes().items()}
        return homes


def heads_bytes(spec: AttentionSpec | MLASpec, dtype: torch.dtype, native: bool) -> int:
    """Bytes of a token's q, k and v. Native kernels hold two copies and attention's result."""
    heads = spec.num_heads * spec.head_dim
    qkv = heads + 2 * spec.num_kv_heads * spec.head_dim
    return (2 * qkv + heads if native else 3 * qkv) * dtype.itemsize


def _qk_norm(spec: QKNorm | None, heads: Span, head_dim: int, context: LayerContext) -> Norm | None:
    if spec is None:
        return None
    shape = {"head": (head_dim,), "each_head": (heads, head_dim), "all": (heads.times(head_dim),)}[spec.scope]
    norm = Norm(spec.norm, *shape, context=context)
    norm.runs_in = "the mixer"
    return norm


def _qk_case(spec: AttentionSpec, context: LayerContext) -> QKCase:
    rope = spec.positions if isinstance(spec.positions, Rope) else None
    return QKCase(
        device=context.device, dtype=context.dtype, num_heads=spec.num_heads, num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim, clip=spec.clip, isa=context.isa,
        norm=norm_options(spec.qk_norm.norm) if spec.qk_norm else None,
        scope=spec.qk_norm.scope if spec.qk_norm else "head",
        half=rope.rotary_dim // 2 if rope else 0, interleaved=rope.interleaved if rope else False)


def _alibi(spec: AttentionSpec, heads: Span) -> AlibiBias | None:
    if not isinstance(spec.positions, Alibi):
        return None
    slopes = alibi_slopes(heads.size, spec.positions.max_bias)[heads.entries]
    return AlibiBias(slopes=slopes, scale=spec.positions.scale, is_bfloat16=spec.positions.is_bfloat16)
