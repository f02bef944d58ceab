"""Attention of a decoder's tokens over an encoder's states, as a module.

Keys and values are written once, in the step in which a sequence starts (`store`); `forward` only reads them.
"""

from __future__ import annotations

from torch import Tensor

from weft.architectures.spec import CrossAttentionSpec
from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer
from weft.layers.linear import Linear
from weft.layers.paged_attention import PagedAttention
from weft.ops.attention import AttentionParams
from weft.ops.step import Step


class CrossAttention(Layer):
    """A CrossAttentionSpec with its weights."""

    def __init__(self, spec: CrossAttentionSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        self.spec, self.dtype, self.scratch = spec, context.dtype, context.scratch
        queries, keys = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        self.query = Linear(hidden_size, {"q": queries}, bias=spec.qkv_bias, context=context)
        self.keys_values = Linear(spec.encoder_size, {"k": keys, "v": keys}, bias=spec.qkv_bias, context=context,
                                  without_bias=() if spec.k_bias else ("k",))
        self.out = Linear(queries, {"o": hidden_size}, bias=spec.out_bias, context=context)
        self.paged = PagedAttention(
            num_heads=spec.num_heads, num_kv_heads=spec.num_kv_heads, head_dim=spec.head_dim, is_checked=False,
            is_cross=True, params=AttentionParams(scale=spec.scale, softcap=spec.softcap), context=context)

    def store(self, states: Tensor, step: Step) -> None:
        """Write keys and values of the states [N, Ex] of all encoder inputs that the step brings, in their order."""
        k, v = self.keys_values(states).view(-1, 2 * self.spec.num_kv_heads, self.spec.head_dim).chunk(2, dim=1)
        self.paged.write(k, v, step)

    def forward(self, x: Tensor, step: Step, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned.

        step: the plan of this layer's group has no slots, because `store` has filled them.
        """
        width = self.query.width
        q = self.query(x).view(-1, self.spec.num_heads, self.spec.head_dim)
        out = self.scratch.take("attended", x.shape[0], width, self.dtype)
        return self.out(self.paged(q, None, None, step, out.view(q.shape)).reshape(-1, width), residual, alpha)

    def token_bytes(self, native: bool) -> int:
        """As Layer: q and attention's result, and the encoder's keys and values as they are written."""
        return 2 * (self.query.width + self.keys_values.width) * self.dtype.itemsize

    def homes(self) -> dict[str, Home]:
        return self.query.homes() | self.keys_values.homes() | self.out.homes()
