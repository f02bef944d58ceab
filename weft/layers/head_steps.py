"""`HeadSteps`: what some families do to the heads besides norms, rotation and attention. In torch, step by step.

After the rotation: norms of q and k, and a factor on q by position. After attention: a norm over all heads' results,
or a gate that multiplies them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.architectures.spec import AttentionSpec, QueryScaling
from weft.errors import DescriptionError
from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer
from weft.layers.linear import Linear
from weft.layers.norm import Norm
from weft.layers.shard import Span, needs_sums
from weft.ops.step import Step

_GATES = {"sigmoid": torch.sigmoid, "softplus": F.softplus}


class HeadSteps(Layer):
    """Those steps that an AttentionSpec asks for. heads, kv_heads: those that are built."""

    def __init__(self, spec: AttentionSpec, hidden_size: int, heads: Span, kv_heads: Span, *,
                 context: LayerContext) -> None:
        super().__init__()
        self.spec, self.heads, self.kv_heads = spec, len(heads), len(kv_heads)
        late = spec.qk_norm is not None and spec.qk_norm.after_rotation
        self.spans_heads = spec.qk_norm is not None and spec.qk_norm.scope == "all"
        self.q_norm = late_norm(spec, heads, context) if late else None
        self.k_norm = late_norm(spec, kv_heads, context) if late else None
        self.out_norm = None
        if spec.out_norm is not None:
            if not heads.is_whole:
                raise needs_sums("out_norm", heads)
            self.out_norm = Norm(spec.out_norm, spec.num_heads * spec.head_dim, context=context)
        self.gate = None
        if spec.gate is not None:
            rows = heads if spec.gate.per == "head" else heads.times(spec.head_dim)
            self.gate = Linear(hidden_size, {"gate": rows}, bias=spec.gate.bias, context=context)

    def before(self, qkv: Tensor, step: Step) -> None:
        """Change q and k of q, k and v, [T, H + 2 Hkv, D], in place."""
        q, k, _ = qkv.split_with_sizes((self.heads, self.kv_heads, self.kv_heads), dim=1)
        for norm, x in ((self.q_norm, q), (self.k_norm, k)):
            if norm is not None:
                rows = x.flatten(1) if self.spans_heads else x.flatten(0, 1)
                x.copy_(norm(rows).view(x.shape))
        if self.spec.query_scaling is not None:
            q.mul_(query_factors(self.spec.query_scaling, step.positions).to(q.dtype).view(-1, 1, 1))

    def after(self, results: Tensor, x: Tensor) -> Tensor:
        """[T, H * D] of attention's results and the block's input x [T, E]."""
        gate = self.spec.gate
        if self.gate is not None and gate is not None:
            factors = _GATES[gate.act](self.gate(x).float()).to(results.dtype) * gate.scale
            factors = factors.repeat_interleave(self.spec.head_dim, dim=1) if gate.per == "head" else factors
            results = results * factors
        return results if self.out_norm is None else self.out_norm(results)

    def homes(self) -> dict[str, Home]:
        homes = self.own_homes() | ({} if self.gate is None else self.gate.homes())
        for name in ("q_norm", "k_norm", "out_norm"):
            norm = getattr(self, name)
            homes |= {} if norm is None else {f"{name}.{part}": home for part, home in norm.homes().items()}
        return homes


def late_norm(spec: AttentionSpec, heads: Span, context: LayerContext) -> Norm:
    """The norm of q or k after the rotation, over a head or over all heads together.

    DescriptionError for the scope "each_head".
    """
    assert spec.qk_norm is not None, "only called for a spec with such a norm"
    if spec.qk_norm.scope == "each_head":
        raise DescriptionError("QKNorm.scope", "each_head", expected="'head' or 'all' where after_rotation is True")
    if spec.qk_norm.scope == "all" and not heads.is_whole:
        raise needs_sums("qk_norm.scope=all", heads)
    size = len(heads) * spec.head_dim if spec.qk_norm.scope == "all" else spec.head_dim
    return Norm(spec.qk_norm.norm, size, context=context)


def has_head_steps(spec: AttentionSpec) -> bool:
    """Whether a spec asks for any of the steps."""
    late = spec.qk_norm is not None and spec.qk_norm.after_rotation
    return late or any(part is not None for part in (spec.gate, spec.out_norm, spec.query_scaling))


def query_factors(scaling: QueryScaling, positions: Tensor) -> Tensor:
    """[T] float32 of positions [T]."""
    turns = torch.floor((positions.float() + scaling.shift) / scaling.length)
    return 1 + scaling.beta * torch.log1p(turns)
