"""Mamba's mixers as modules: a product in, a convolution, a selective scan with its gate, a product out.

Both keep the scan's own parameters in float32, whatever the model's dtype: decays are exponentials of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Generic, TypeVar

import torch
from torch import Tensor

from weft.architectures.spec import Mamba2Spec, MambaSpec
from weft.layers.causal_conv import CausalConv
from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home
from weft.layers.linear import Linear, shape_only
from weft.layers.shard import Extent, Span, Spans, needs_sums
from weft.layers.state import StateLayer
from weft.ops.activation import ActivationCase, choose_activation
from weft.ops.copy_rows import CopyCase, choose_copy
from weft.ops.kernel import Choice
from weft.ops.mamba import MambaCase, MambaOptions, choose_mamba
from weft.ops.norm import NormCase, NormOptions, choose_norm
from weft.ops.quantized import QuantizedWeight
from weft.ops.step import Step

S = TypeVar("S", MambaSpec, Mamba2Spec)


class _Selective(StateLayer, Generic[S]):
    """What both versions share: the products at the two ends, the convolution, and the scan's parameters.

    spec: of the channels that are built, all or a shard's; inner: these channels. enter: rows of the product in;
    convolved: channels of the convolution. scanned: the channels or heads that the scan has a decay and a step for;
    a_columns: decays of one of them.
    """

    def __init__(self, spec: S, hidden_size: int, options: MambaOptions, *, inner: Span,
                 enter: Spans, convolved: Extent, scanned: Span, a_columns: tuple[int, ...] = (),
                 context: LayerContext) -> None:
        super().__init__(spec, context=context)
        self.spec: S = spec
        self.scratch, self.scanned = context.scratch, scanned
        self.enter = Linear(hidden_size, {"in": enter}, bias=spec.bias, context=context)
        self.conv = CausalConv(convolved, spec.conv_size, act=spec.act, bias=spec.conv_bias, context=context)
        exact = replace(context, dtype=torch.float32)
        self.a_log, self.d, self.dt_bias = (self.parameter(len(scanned), *columns, context=exact)
                                            for columns in (a_columns, (), ()))
        self.out = Linear(inner, {"o": hidden_size}, bias=spec.bias, context=context)
        self.scan_choice = choose_mamba(MambaCase(device=context.device, dtype=context.dtype, options=options,
                                                  state_size=spec.state_size, isa=context.isa))
        self.scan: Callable[..., Tensor] = NOT_FINISHED         # what that kernel makes of its parameters

    def finish_loading(self) -> None:
        """Give the scan's parameters to its kernel."""
        self.scan = self.scan_choice.prepare(-self.a_log.data.exp(), self.d.data, self.dt_bias.data)
        self.a_log = shape_only(self.a_log)

    def own_homes(self) -> dict[str, Home]:
        """As Layer."""
        named = {"a_log": self.a_log, "d": self.d, "dt.bias": self.dt_bias}
        return {part: Home(parameter.data, self, part, self.scanned) for part, parameter in named.items()}

    def homes(self) -> dict[str, Home]:
        convs = {f"conv.{part}": home for part, home in self.conv.homes().items()}
        return self.own_homes() | self.enter.homes() | convs | self.out.homes()

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer: float32 throughout."""
        return 4 * (self.a_log.numel() + self.d.numel() + self.dt_bias.numel())

    def token_bytes(self, native: bool) -> int:
        """As Layer: what the product in, the convolution and the scan give; torch's scan has it in float32, too."""
        spec = self.spec
        rows = spec.in_size + spec.conv_channels + spec.inner_size
        return rows * self.dtype.itemsize + (0 if native else 4 * 3 * spec.inner_size)

    def flops_per_token(self, context_len: int) -> int:
        """As Layer: of each number of the state, a decay, a product that is added, and one that is read."""
        return 5 * prod(self.state_shape)

    def _scanned(self, rows: int) -> Tensor:
        """Scratch memory for the scan's result."""
        return self.scratch.take("scanned", rows, self.spec.inner_size, self.dtype)


class Mamba(_Selective[MambaSpec]):
    """A MambaSpec with its weights."""

    def __init__(self, spec: MambaSpec, hidden_size: int, *, context: LayerContext) -> None:
        size, states = context.divided("intermediate_size", spec.inner_size), spec.state_size
        super().__init__(replace(spec, inner_size=len(size)), hidden_size, MambaOptions(by_head=False), inner=size,
                         enter=Spans((size, size)), convolved=size, scanned=size, a_columns=(states,), context=context)
        exact = context.exact()             # small, and they decide
        self.dt_b_c = Linear(size, {"dt_b_c": spec.dt_rank + 2 * states}, bias=False, context=exact)
        self.dt = Linear(spec.dt_rank, {"dt": size}, bias=False, context=exact)
        sizes = (spec.dt_rank, states, states)
        self.dt_norm, self.b_norm, self.c_norm = (
            self.parameter(size, context=context) if spec.norm_weights else None for size in sizes)
        self.norm_choice, self.norm_options = _norm_choice(spec, context)
        self.norms: tuple[Callable[..., Tensor], ...] = ()       # of dt, b and c

    def forward(self, x: Tensor, step: Step, angles: None = None, residual: Tensor | None = None,
                alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned. There are no angles."""
        if not self.scanned.is_whole:                           # dt, b and c are made of all channels
            raise needs_sums("mixer.dt_b_c", self.scanned)
        spec, plan = self.spec, step.caches[self.group]
        x, z = self.enter(x).split(spec.inner_size, dim=1)                              # [T, I] each
        x = self.conv(x, self.conv_states, plan)
        dt, b, c = self.dt_b_c(x).split_with_sizes((spec.dt_rank, spec.state_size, spec.state_size), dim=1)
        if self.norms:
            dt, b, c = (norm(part, part) for norm, part in zip(self.norms, (dt, b, c), strict=True))
        y = self.scan(x, self.dt(dt), b, c, self.scan_states, plan, z, self._scanned(x.shape[0]))
        return self.out(y, residual, alpha)

    def finish_loading(self) -> None:
        """Give the scan's parameters and the norms' weights to their kernels."""
        super().finish_loading()
        if self.norm_choice is not None:
            weights = (None if norm is None else norm.data for norm in (self.dt_norm, self.b_norm, self.c_norm))
            self.norms = tuple(self.norm_choice.prepare(weight, None, self.norm_options) for weight in weights)

    def own_homes(self) -> dict[str, Home]:
        """As Layer."""
        norms = {"dt_norm": self.dt_norm, "b_norm": self.b_norm, "c_norm": self.c_norm}
        return super().own_homes() | {f"{name}.weight": Home(norm.data, self, f"{name}.weight")
                                      for name, norm in norms.items() if norm is not None}

    def homes(self) -> dict[str, Home]:
        return super().homes() | self.dt_b_c.homes() | self.dt.homes()

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        norms = (norm for norm in (self.dt_norm, self.b_norm, self.c_norm) if norm is not None)
        return super().held_bytes(codes) + sum(map(self.plain_bytes, norms))

    def token_bytes(self, native: bool) -> int:
        """As Layer: dt, b and c besides, and dt expanded."""
        spec = self.spec
        own = spec.dt_rank + 2 * spec.state_size + spec.inner_size
        return super().token_bytes(native) + own * self.dtype.itemsize


class Mamba2(_Selective[Mamba2Spec]):
    """A Mamba2Spec with its weights."""

    def __init__(self, spec: Mamba2Spec, hidden_size: int, *, context: LayerContext) -> None:
        heads, groups = context.divided("num_heads", spec.num_heads), context.shared("n_groups", spec.num_groups)
        inner, states = heads.times(spec.head_dim), groups.times(spec.state_size)
        super().__init__(
            replace(spec, num_heads=len(heads), num_groups=len(groups)), hidden_size,
            MambaOptions(by_head=True, dt_limits=spec.dt_limits), inner=inner, scanned=heads, context=context,
            enter=Spans((inner, inner, states, states, heads)), convolved=Spans((inner, states, states)))
        self.has_whole_groups = len(heads) * groups.size == heads.size * len(groups)
        self.inner = inner
        self.norm_choice, self.norm_options = _norm_choice(spec, context)
        self.norm_weight = None if spec.norm_eps is None else self.parameter(len(inner), context=context)
        self.norms: tuple[Callable[..., Tensor], ...] = ()       # of each group's channels
        self.gate_choice = self.copy_choice = None
        if spec.norm_first:
            self.gate_choice = choose_activation(ActivationCase(device=context.device, dtype=context.dtype, act="silu",
                                                                gated=True, isa=context.isa))
            self.copy_choice = choose_copy(CopyCase(device=context.device, dtype=context.dtype, isa=context.isa))

    def forward(self, x: Tensor, step: Step, angles: None = None, residual: Tensor | None = None,
                alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned. There are no angles."""
        if not self.has_whole_groups:                           # a group is normed as a whole
            raise needs_sums("mixer.norm", self.scanned)
        spec, plan = self.spec, step.caches[self.group]
        states = spec.num_groups * spec.state_size
        heads, groups = (spec.num_heads, spec.head_dim), (spec.num_groups, spec.state_size)
        zxbcdt = self.enter(x)
        z, x, dt = zxbcdt.split_with_sizes((spec.inner_size, spec.conv_channels, spec.num_heads), dim=1)
        x, b, c = self.conv(x, self.conv_states, plan).split_with_sizes((spec.inner_size, states, states), dim=1)
        y = self._scanned(x.shape[0])
        y = self.scan(x.unflatten(1, heads), dt, b.unflatten(1, groups), c.unflatten(1, groups), self.scan_states, plan,
                      None if spec.norm_first else z.unflatten(1, heads), y.unflatten(1, heads)).flatten(1)
        if self.norms:
            self._normed(y)
        if self.gate_choice is not None and self.copy_choice is not None:
            self.copy_choice.run(y, zxbcdt[:, spec.inner_size : 2 * spec.inner_size])   # in x's place, beside z
            y = self.gate_choice.run(zxbcdt[:, : 2 * spec.inner_size], y)
        return self.out(y, residual, alpha)

    def _normed(self, y: Tensor) -> None:
        """Normalise each group's channels of y [T, I], in place."""
        for norm, part in zip(self.norms, y.chunk(self.spec.num_groups, dim=1), strict=True):
            normed = norm(part, part)
            if normed is not part:                              # torch's norms make their results anew
                part.copy_(normed)

    def finish_loading(self) -> None:
        """Give the scan's parameters and the norms' weights to their kernels."""
        super().finish_loading()
        if self.norm_choice is not None and self.norm_weight is not None:
            self.norms = tuple(self.norm_choice.prepare(weight, None, self.norm_options)
                               for weight in self.norm_weight.data.chunk(self.spec.num_groups))

    def own_homes(self) -> dict[str, Home]:
        """As Layer."""
        if self.norm_weight is None:
            return super().own_homes()
        return super().own_homes() | {"norm.weight": Home(self.norm_weight.data, self, "norm.weight", self.inner)}

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        norm = 0 if self.norm_weight is None else self.plain_bytes(self.norm_weight)
        return super().held_bytes(codes) + norm


def _norm_choice(spec: MambaSpec | Mamba2Spec, context: LayerContext) -> tuple[Choice | None, NormOptions | None]:
    """The kernel of a mixer's own RMS norms and their kind; Nones for a mixer without norms."""
    if spec.norm_eps is None:
        return None, None
    options = NormOptions(centred=False, eps=spec.norm_eps, cast_before_weight=True)
    case = NormCase(device=context.device, dtype=context.dtype, options=options, isa=context.isa)
    return choose_norm(case), options
