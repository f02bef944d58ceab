"""Multi-head latent attention as a module: keys and values expanded from a short vector, then paged attention.

The cache holds the expanded heads, so that the attention kernels run as they are. Where a head of v is shorter than one
of q and k, it is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from weft.architectures.spec import MLASpec, Rope
from weft.layers.attention import heads_bytes
from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home, Layer
from weft.layers.linear import Linear
from weft.layers.norm import Norm
from weft.layers.paged_attention import PagedAttention
from weft.ops.attention import AttentionParams
from weft.ops.qk import QKCase, choose_qk
from weft.ops.step import Step


class MLA(Layer):
    """An MLASpec with its weights. spec: of the heads that are built, all or a shard's."""

    def __init__(self, spec: MLASpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        own, bias = context.divided("num_attention_heads", spec.num_heads), spec.bias
        self.spec = spec = replace(spec, num_heads=len(own))
        heads = spec.num_heads
        self.q_a = self.q_a_norm = None
        queries = own.times(spec.key_dim)
        if spec.q_rank is None:
            self.q = Linear(hidden_size, {"q": queries}, bias=False, context=context)
        else:
            self.q_a = Linear(hidden_size, {"q_a": spec.q_rank}, bias=bias, context=context)
            self.q_a_norm = Norm(spec.norm, spec.q_rank, context=context, role="q_a_norm")
            self.q = Linear(spec.q_rank, {"q_b": queries}, bias=False, context=context)
        self.kv_a = Linear(hidden_size, {"kv_a": spec.kv_rank + spec.positions.rotary_dim}, bias=bias, context=context)
        self.kv_a_norm = Norm(spec.norm, spec.kv_rank, context=context, role="kv_a_norm")
        self.kv_b = Linear(spec.kv_rank, {"k_b": own.times(spec.nope_dim), "v_b": own.times(spec.value_dim)},
                           bias=False, context=context)
        self.out = Linear(own.times(spec.value_dim), {"o": hidden_size}, bias=bias, context=context)
        self.scratch, self.dtype = context.scratch, context.dtype
        self.qk_choice = choose_qk(QKCase(
            device=context.device, dtype=context.dtype, num_heads=heads, num_kv_heads=heads, head_dim=spec.head_dim,
            half=spec.positions.rotary_dim // 2, interleaved=spec.positions.interleaved, isa=context.isa))
        self.rotate: Callable[..., None] = NOT_FINISHED       # what that kernel makes of no norms
        self.paged = PagedAttention(num_heads=heads, num_kv_heads=heads, head_dim=spec.head_dim,
                                    params=AttentionParams(scale=spec.scale), context=context, is_checked=False)

    def forward(self, x: Tensor, step: Step, angles: tuple[Tensor, Tensor], residual: Tensor | None = None,
                alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned.

        angles: cos and sin of the tokens' positions, [T, R / 2] float32.
        """
        heads = self.spec.num_heads
        qkv = self._heads(x)
        self.rotate(qkv, angles)
        q, k, v = qkv.split_with_sizes((heads, heads, heads), dim=1)
        out = self.scratch.take("attended", q.shape[0], heads * self.spec.head_dim, self.dtype)
        out = self.paged(q, k, v, step, out.view(q.shape))
        return self.out(out[..., : self.spec.value_dim].flatten(1), residual, alpha)

    def _heads(self, x: Tensor) -> Tensor:
        """q, k and v of all heads, [T, 3H, D]. The rotated part of q and k comes first, where kernels expect it."""
        spec, heads = self.spec, self.spec.num_heads
        tokens, rotary, keys = x.shape[0], spec.positions.rotary_dim, spec.key_dim
        qkv = self.scratch.take("mla_qkv", tokens, 3 * heads * spec.head_dim, self.dtype)
        qkv = qkv.view(tokens, 3 * heads, spec.head_dim)
        q, k, v = qkv.split_with_sizes((heads, heads, heads), dim=1)
        narrow = x if self.q_a is None or self.q_a_norm is None else self.q_a_norm(self.q_a(x))
        query = self.q(narrow).view(tokens, heads, keys)
        q[..., rotary:keys], q[..., :rotary] = query.split_with_sizes((spec.nope_dim, rotary), dim=2)
        latent, key = self.kv_a(x).split_with_sizes((spec.kv_rank, rotary), dim=1)
        k[..., :rotary] = key.unsqueeze(1)
        expanded = self.kv_b(self.kv_a_norm(latent))
        nope = heads * spec.nope_dim
        k[..., rotary:keys] = expanded[:, :nope].view(tokens, heads, -1)
        v[..., : spec.value_dim] = expanded[:, nope:].view(tokens, heads, -1)
        qkv[:, : 2 * heads, keys:] = 0
        v[..., spec.value_dim :] = 0
        return qkv

    def finish_loading(self) -> None:
        """Make the rotation."""
        self.rotate = self.qk_choice.prepare()

    @property
    def rope(self) -> Rope:
        """The rotary positions this layer wants."""
        return self.spec.positions

    def token_bytes(self, native: bool) -> int:
        """As Layer."""
        return heads_bytes(self.spec, self.dtype, native)

    def homes(self) -> dict[str, Home]:
        homes = self.own_homes()
        for linear in (self.q_a, self.q, self.kv_a, self.kv_b, self.out):
            homes |= {} if linear is None else linear.homes()
        for name, norm in (("q_a_norm", self.q_a_norm), ("kv_a_norm", self.kv_a_norm)):
            homes |= {} if norm is None else {f"{name}.{home}": view for home, view in norm.homes().items()}
        return homes
