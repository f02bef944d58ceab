"""Lightning attention as a module: a product in, Mamba 2's scan with fixed steps, a norm and a gate, a product out."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from weft.architectures.spec import LightningSpec, RMSNorm
from weft.layers.context import LayerContext
from weft.layers.layer import Home
from weft.layers.linear import Linear
from weft.layers.norm import Norm
from weft.layers.result_gate import ResultGate
from weft.layers.shard import needs_sums
from weft.layers.state import StateLayer
from weft.ops.mamba import MambaCase, MambaOptions, choose_mamba
from weft.ops.step import Step


class Lightning(StateLayer):
    """A LightningSpec with its weights. spec: of the heads that are built, all or a shard's.

    S = exp(-slope) S + k v is the scan of Mamba 2 whose steps are 1, whose x is v, b is k and c is q.
    """

    def __init__(self, spec: LightningSpec, hidden_size: int, *, context: LayerContext) -> None:
        heads = context.divided("num_attention_heads", spec.num_heads)
        spec = replace(spec, num_heads=len(heads), slopes=spec.slopes[heads.entries])
        super().__init__(spec, context=context)
        self.spec, self.heads, self.scratch = spec, heads, context.scratch
        values = heads.times(spec.head_dim)
        self.enter = Linear(hidden_size, {"q": values, "k": values, "v": values}, bias=False, act=spec.act,
                            context=context)
        self.norm = Norm(RMSNorm(eps=spec.norm_eps), values, context=context, role="lightning")
        self.gate = ResultGate(hidden_size, values, act="sigmoid", rank=None, context=context)
        self.out = Linear(values, {"o": hidden_size}, bias=False, context=context)
        self.scan_choice = choose_mamba(MambaCase(
            device=context.device, dtype=context.dtype, state_size=spec.head_dim, isa=context.isa,
            options=MambaOptions(by_head=True, softplus=False)))
        self.scan = self.scan_choice.prepare(-torch.tensor(spec.slopes), None, None)
        self.steps = torch.ones(1, spec.num_heads, dtype=context.dtype)

    def forward(self, x: Tensor, step: Step, angles: None = None, residual: Tensor | None = None,
                alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned. There are no angles."""
        if not self.heads.is_whole:                             # all heads are normed together
            raise needs_sums("mixer.norm", self.heads)
        spec, tokens = self.spec, x.shape[0]
        heads = (spec.num_heads, spec.head_dim)
        q, k, v = (part.unflatten(1, heads) for part in self.enter(x).chunk(3, dim=1))
        y = self.scratch.take("scanned", tokens, prod(heads), self.dtype)
        y = self.scan(v, self.steps.expand(tokens, -1), k, q, self.scan_states, step.caches[self.group], None,
                      y.unflatten(1, heads)).flatten(1)
        return self.out(self.gate(x, self.norm(y)), residual, alpha)

    def homes(self) -> dict[str, Home]:
        norms = {f"norm.{part}": home for part, home in self.norm.homes().items()}
        return self.enter.homes() | norms | self.gate.homes() | self.out.homes()

    def token_bytes(self, native: bool) -> int:
        """As Layer: q, k and v, and the result, normed, and beside its gate; torch's scan has them in float32, too."""
        width = self.spec.num_heads * self.spec.head_dim
        return 7 * width * self.dtype.itemsize + (0 if native else 4 * 4 * width)

    def flops_per_token(self, context_len: int) -> int:
        """As Layer: of each number of the state, a decay, a product that is added, and one that is read."""
        return 5 * prod(self.state_shape)
