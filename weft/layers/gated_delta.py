"""The gated delta rule as a module: products in, a convolution, the rule, a norm, a gate, a product out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from weft.architectures.spec import GatedDeltaSpec
from weft.layers.causal_conv import CausalConv
from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home
from weft.layers.linear import Linear
from weft.layers.result_gate import ResultGate
from weft.layers.shard import Spans
from weft.layers.state import StateLayer
from weft.ops.gated_delta import GatedDeltaCase, choose_gated_delta, decays_and_rates
from weft.ops.norm import NormCase, NormOptions, choose_norm
from weft.ops.quantized import QuantizedWeight
from weft.ops.step import Step


class GatedDelta(StateLayer):
    """A GatedDeltaSpec with its weights. spec: of the heads that are built, all or a shard's."""

    def __init__(self, spec: GatedDeltaSpec, hidden_size: int, *, context: LayerContext) -> None:
        heads = context.divided("linear_num_value_heads", spec.num_heads)
        key_heads = context.divided("linear_num_key_heads", spec.num_key_heads)
        spec = replace(spec, num_heads=len(heads), num_key_heads=len(key_heads))
        super().__init__(spec, context=context)
        self.spec, self.heads = spec, heads
        keys, values, exact = key_heads.times(spec.key_dim), heads.times(spec.value_dim), context.exact()
        parts = {"q": keys, "k": keys, "v": values}
        self.enter = Linear(hidden_size, parts, bias=False, context=context)
        self.conv = CausalConv(Spans((keys, keys, values)), spec.conv_size, act=spec.act, bias=False, parts=parts,
                               context=context)
        self.a_a = None if spec.decay_rank is None else Linear(hidden_size, {"a_a": spec.decay_rank}, bias=False,
                                                               context=exact)
        self.decayed = heads if spec.decay_rank is None else keys
        self.a = Linear(spec.decay_rank or hidden_size, {"a": self.decayed}, bias=False, context=exact)
        self.b = Linear(hidden_size, {"b": heads}, bias=False, context=exact)
        self.a_log, self.dt_bias = (self.parameter(len(size), context=replace(context, dtype=torch.float32))
                                    for size in (heads, self.decayed))
        self.gate = ResultGate(hidden_size, values, act=spec.gate_act, rank=spec.gate_rank, context=context)
        self.norm_weight = self.parameter(spec.value_dim, context=context)
        self.norm_options = NormOptions(centred=False, eps=spec.norm_eps, cast_before_weight=True)
        self.norm_choice = choose_norm(NormCase(device=context.device, dtype=context.dtype, options=self.norm_options,
                                                isa=context.isa))
        self.normalise: Callable[..., Tensor] = NOT_FINISHED
        self.out = Linear(values, {"o": hidden_size}, bias=False, context=context)
        self.rule_choice = choose_gated_delta(GatedDeltaCase(
            device=context.device, dtype=context.dtype, key_dim=spec.key_dim, scale=spec.key_dim ** -0.5,
            normalises=True, by_dimension=spec.decay_rank is not None, isa=context.isa))

    def forward(self, x: Tensor, step: Step, angles: None = None, residual: Tensor | None = None,
                alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned. There are no angles."""
        spec, plan = self.spec, step.caches[self.group]
        keys, values = (spec.num_key_heads, spec.key_dim), (spec.num_heads, spec.value_dim)
        qkv = self.conv(self.enter(x), self.conv_states, plan)
        q, k, v = qkv.split_with_sizes((prod(keys), prod(keys), prod(values)), dim=1)
        a = self.a(x if self.a_a is None else self.a_a(x))
        decays, rates = decays_and_rates(a, self.b(x), self.a_log, self.dt_bias, scale=spec.beta_scale)
        y = self.rule_choice.run(q.unflatten(1, keys), k.unflatten(1, keys), v.unflatten(1, values), decays, rates,
                                 self.scan_states, plan)                                # [T, H, Dv]
        rows = y.flatten(0, 1)
        y = self.normalise(rows, rows).view(y.shape[0], prod(values))
        return self.out(self.gate(x, y), residual, alpha)

    def finish_loading(self) -> None:
        """Give the norm's weight to its kernel."""
        self.normalise = self.norm_choice.prepare(self.norm_weight.data, None, self.norm_options)

    def own_homes(self) -> dict[str, Home]:
        """As Layer."""
        return {"a_log": Home(self.a_log.data, self, "a_log", self.heads),
                "dt.bias": Home(self.dt_bias.data, self, "dt.bias", self.decayed),
                "norm.weight": Home(self.norm_weight.data, self, "norm.weight")}

    def homes(self) -> dict[str, Home]:
        convs = {f"conv.{part}": home for part, home in self.conv.homes().items()}
        below = (self.enter, self.a_a, self.a, self.b, self.gate, self.out)
        return self.own_homes() | convs | {part: home for layer in below if layer is not None
                                           for part, home in layer.homes().items()}

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer: the decays' parameters are float32."""
        return 4 * (self.a_log.numel() + self.dt_bias.numel()) + self.plain_bytes(self.norm_weight)

    def token_bytes(self, native: bool) -> int:
        """As Layer: q, k and v before and after the convolution, the result twice beside its gate, and the decays."""
        spec, values = self.spec, self.spec.num_heads * self.spec.value_dim
        rows = 2 * spec.conv_channels + 4 * values
        return rows * self.dtype.itemsize + 8 * len(self.decayed) + (0 if native else 4 * spec.conv_channels)

    def flops_per_token(self, context_len: int) -> int:
        """As Layer: of each number of the state, a decay, a product read, one added and one read."""
        return 7 * prod(self.state_shape)
