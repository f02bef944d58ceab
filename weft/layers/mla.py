"""Multi-head latent attention as a module: a token's latent vector and rotated key are all that is cached.

A head's scores are q·(k_b @ latent) = (q @ k_b)·latent, and its result is v_b @ (the weighted sum of latents). So the
queries are multiplied by k_b and the results by v_b, and attention runs over the latents, as if all heads had one key
in common whose last numbers are its value (the absorbed form, arXiv:2405.04434 section 2.1.2). Prompts and decodes take
the same way: a token has the same bits whether its neighbours were computed with it, before it or, after preemption,
again. Expanded heads would save up to two thirds of attention's products in long prompts and cost those bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from weft.architectures.spec import MLASpec, Rope
from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home, Layer
from weft.layers.linear import Linear
from weft.layers.norm import Norm
from weft.layers.paged_attention import PagedAttention
from weft.layers.per_head import PerHead
from weft.ops.attention import AttentionParams
from weft.ops.copy_rows import CopyCase, choose_copy
from weft.ops.qk import QKCase, choose_qk
from weft.ops.step import Step


class MLA(Layer):
    """An MLASpec with its weights. spec: of the heads that are built, all or a shard's.

    A row of the cache is [rotated key, latent], with the rotated part first, where kernels expect it.
    """

    def __init__(self, spec: MLASpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        own, bias = context.divided("num_attention_heads", spec.num_heads), spec.bias
        self.spec = spec = replace(spec, num_heads=len(own))
        self.q_a = self.q_a_norm = None
        queries = own.times(spec.key_dim)
        if spec.q_rank is None:
            self.q = Linear(hidden_size, {"q": queries}, bias=False, context=context)
        else:
            self.q_a = Linear(hidden_size, {"q_a": spec.q_rank}, bias=bias, context=context)
            self.q_a_norm = Norm(spec.norm, spec.q_rank, context=context, role="q_a_norm")
            self.q = Linear(spec.q_rank, {"q_b": queries}, bias=False, context=context)
        self.kv_a = Linear(hidden_size, {"kv_a": spec.head_dim}, bias=bias, context=context)
        self.kv_a_norm = Norm(spec.norm, spec.kv_rank, context=context, role="kv_a_norm")
        self.keys = PerHead("k_b", own, spec.nope_dim, spec.kv_rank, transposed=True, context=context)
        self.values = PerHead("v_b", own, spec.value_dim, spec.kv_rank, transposed=False, context=context)
        self.out = Linear(own.times(spec.value_dim), {"o": hidden_size}, bias=bias, context=context)
        self.scratch, self.dtype = context.scratch, context.dtype
        self.copy = choose_copy(CopyCase(device=context.device, dtype=context.dtype, isa=context.isa))
        self.q_choice, self.k_choice = (choose_qk(QKCase(
            device=context.device, dtype=context.dtype, num_heads=heads, num_kv_heads=0, head_dim=spec.head_dim,
            half=spec.positions.rotary_dim // 2, interleaved=spec.positions.interleaved, isa=context.isa))
            for heads in (spec.num_heads, 1))
        self.rotate_q: Callable[..., None] = NOT_FINISHED       # what those kernels make of no norms
        self.rotate_k: Callable[..., None] = NOT_FINISHED
        self.paged = PagedAttention(
            num_heads=spec.num_heads, num_kv_heads=1, head_dim=spec.head_dim, context=context, is_checked=False,
            params=AttentionParams(scale=spec.scale, value_dim=spec.kv_rank))

    def forward(self, x: Tensor, step: Step, angles: tuple[Tensor, Tensor], residual: Tensor | None = None,
                alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned.

        angles: cos and sin of the tokens' positions, [T, R / 2] float32.
        """
        tokens, heads = x.shape[0], self.spec.num_heads
        q, k = self._queries(x, angles), self._keys(x, angles)
        out = self.scratch.take("attended", tokens, heads * self.spec.kv_rank, self.dtype)
        attended = self.paged(q, k, None, step, out.view(tokens, heads, -1))                     # [T, H, kv_rank]
        values = self.scratch.take("mla_values", tokens, heads * self.spec.value_dim, self.dtype)
        self.values(attended, values.view(tokens, heads, -1))
        return self.out(values, residual, alpha)

    def _queries(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """[T, H, D] in the form of cached rows."""
        spec, tokens, heads, rotary = self.spec, x.shape[0], self.spec.num_heads, self.spec.positions.rotary_dim
        narrow = x if self.q_a is None or self.q_a_norm is None else self.q_a_norm(self.q_a(x))
        query = self.q(narrow).view(tokens, heads, spec.key_dim)
        q = self.scratch.take("mla_q", tokens, heads * spec.head_dim, self.dtype).view(tokens, heads, -1)
        self.copy.run(query.view(-1, spec.key_dim)[:, spec.nope_dim :], q.view(-1, spec.head_dim)[:, :rotary])
        self.keys(query[..., : spec.nope_dim], q[..., rotary:])
        self.rotate_q(q, angles)
        return q

    def _keys(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """[T, 1, D]: the rows to cache."""
        spec, tokens, rotary = self.spec, x.shape[0], self.spec.positions.rotary_dim
        latent, key = self.kv_a(x).split_with_sizes((spec.kv_rank, rotary), dim=1)
        k = self.scratch.take("mla_k", tokens, spec.head_dim, self.dtype)
        self.copy.run(key, k[:, :rotary])
        self.copy.run(self.kv_a_norm(latent), k[:, rotary:])
        k = k.view(tokens, 1, -1)
        self.rotate_k(k, angles)
        return k

    def finish_loading(self) -> None:
        """Make the rotations."""
        self.rotate_q, self.rotate_k = self.q_choice.prepare(), self.k_choice.prepare()

    @property
    def rope(self) -> Rope:
        """The rotary positions this layer wants."""
        return self.spec.positions

    def token_bytes(self, native: bool) -> int:
        """As Layer."""
        spec = self.spec
        by_head = spec.key_dim + spec.head_dim + spec.kv_rank + spec.value_dim
        rows = spec.num_heads * by_head + 2 * spec.head_dim + spec.kv_rank + 2 * (spec.q_rank or 0)
        return rows * self.dtype.itemsize

    def homes(self) -> dict[str, Home]:
        homes = self.own_homes()
        for layer in (self.q_a, self.q, self.kv_a, self.keys, self.values, self.out):
            homes |= {} if layer is None else layer.homes()
        for name, norm in (("q_a_norm", self.q_a_norm), ("kv_a_norm", self.kv_a_norm)):
            homes |= {} if norm is None else {f"{name}.{home}": view for home, view in norm.homes().items()}
        return homes
