"""The feed-forward parts as modules: an MLP and a mixture of experts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.architectures.spec import XIELU, ClampedGLU, MLPSpec, MoESpec
from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home, Layer, add_to, filter_none
from weft.layers.linear import Linear, linear_case, shape_only
from weft.layers.norm import optional_norm
from weft.layers.shard import needs_sums
from weft.ops import activation
from weft.ops.copy_rows import CopyCase, choose_copy
from weft.ops.linear import product_bytes
from weft.ops.moe import Biases, MoECase, Routed, Routing, choose_moe
from weft.ops.quantized import QuantizedWeight, stacked


class MLP(Layer):
    """down(act(up(x))), or down(act(gate(x)) * up(x)) with gate and up as one product.

    spec: of the columns in between that are built, all or a shard's.
    """

    def __init__(self, spec: MLPSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        size = context.divided("intermediate_size", spec.intermediate_size)
        self.spec = replace(spec, intermediate_size=len(size))
        parts = {"gate": size, "up": size} if spec.gated else {"up": size}
        act = spec.act if isinstance(spec.act, str) else None              # in the product's epilogue, else in torch
        gated = spec.gated and act is not None
        self.up = Linear(hidden_size, parts, bias=spec.bias, context=context, act=act, gated=gated)
        self.act = None if act else _own_act(spec, context)
        self.inner_norm = optional_norm(spec.inner_norm, len(size), context=context)
        if self.inner_norm is not None and not size.is_whole:
            raise needs_sums("inner_norm", size)
        self.down = Linear(size, {"down": hidden_size}, bias=spec.bias or spec.down_bias, context=context)

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, which may be x, residual += alpha * that, and it is returned."""
        inner = self.up(x)
        inner = inner if self.act is None else self.act(inner)
        return self.down(inner if self.inner_norm is None else self.inner_norm(inner), residual, alpha)

    def token_bytes(self, native: bool) -> int:
        """As Layer."""
        columns = 1 if native else 4 if self.spec.gated else 2
        return columns * self.spec.intermediate_size * self.down.epilogue.out_dtype.itemsize

    def homes(self) -> dict[str, Home]:
        homes = self.own_homes() | self.up.homes() | self.down.homes()
        for name, part in (("act", self.act), ("inner_norm", self.inner_norm)):
            homes |= {f"{name}.{home}": view for home, view in part.homes().items()} if isinstance(part, Layer) else {}
        return homes


class TrainedXIELU(Layer):
    """XIELU with its four numbers."""

    def __init__(self, *, context: LayerContext) -> None:
        super().__init__()
        self.alpha_p, self.alpha_n = (self.parameter(1, context=context) for _ in range(2))
        self.beta, self.eps = (self.parameter(context=context) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[T, F] -> [T, F]."""
        above = F.softplus(self.alpha_p) * x * x
        below = (torch.expm1(torch.minimum(x, self.eps)) - x) * (self.beta + F.softplus(self.alpha_n))
        return torch.where(x > 0, above, below) + self.beta * x


def _own_act(spec: MLPSpec, context: LayerContext) -> Callable[[Tensor], Tensor]:
    """An activation, or gate, that is no name."""
    if isinstance(spec.act, ClampedGLU):
        return gate_of(spec.act)
    return TrainedXIELU(context=context)


def gate_of(act: ClampedGLU) -> activation.ClampedGLU:
    """The function of a clamped gate."""
    return activation.ClampedGLU(limit=act.limit, alpha=act.alpha, up_offset=act.up_offset)


class MoE(Layer):
    """A router, its experts' matrices stacked, and the shared expert if there is one.

    spec: of the columns in between that are built. A shard has the router and a part of every expert.
    routing: the rule that chooses experts, once the weights are loaded.
    """

    def __init__(self, spec: MoESpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        self.columns = context.divided("intermediate_size of an expert", spec.expert.intermediate_size)
        size = len(self.columns)
        exact = context.exact()        # a router is small, and its choice must be exact
        self.router = Linear(hidden_size, {"router": spec.num_experts}, bias=spec.router_bias, context=exact)
        self.inner = ("gate", "up") if spec.expert.gated else ("up",)           # parts of an expert's first product
        width = len(self.inner) * size
        self.gate_up = self.parameter(spec.num_experts, width, hidden_size, context=context)
        self.down = self.parameter(spec.num_experts, hidden_size, size, context=context)
        has_bias, self.gate_up_bias, self.down_bias = spec.expert.bias, None, None
        if has_bias:
            self.gate_up_bias = self.parameter(spec.num_experts, width, context=context)
            self.down_bias = self.parameter(spec.num_experts, hidden_size, context=context)
        self.bias = self.parameter(hidden_size, context=context) if spec.bias else None
        self.shared = MLP(spec.shared, hidden_size, context=context) if spec.shared else None
        self.spec = spec = replace(spec, expert=replace(spec.expert, intermediate_size=size),
                                   shared=None if self.shared is None else self.shared.spec)
        self.choice_bias = None
        if spec.choice_bias:                                   # float32: bfloat16 would round experts alike
            self.choice_bias = self.parameter(spec.num_experts, context=replace(context, dtype=torch.float32))
        gate = {"shared_gate": 1}
        self.shared_gate = Linear(hidden_size, gate, bias=False, context=exact) if spec.shared_gate else None
        exact_input, act = context.weight_only(), spec.expert.act
        assert not isinstance(act, XIELU), "an expert has no numbers of its own"
        self.act = act if isinstance(act, str) else gate_of(act)
        self.choice = choose_moe(MoECase(
            device=context.device, dtype=context.dtype, hidden_size=hidden_size, intermediate_size=size,
            act=self.act, has_bias=has_bias, gated=spec.expert.gated, isa=context.isa,
            quantization=exact_input.quantization, activation_dtype=context.activation_dtype, nodes=context.nodes))
        self.copy_choice = choose_copy(CopyCase(device=context.device, dtype=context.dtype, isa=context.isa))
        self.scratch = context.scratch
        self.gate_up_case = linear_case(exact_input, hidden_size, width)                  # of one expert's products
        self.down_case = linear_case(exact_input, size, hidden_size)
        self.routing: Routing
        self.experts: Callable[..., Tensor] = NOT_FINISHED    # the kernel's mixture, made of the loaded matrices
        self.takes_codes = self.choice.name == "native"
        self.codes: dict[str, QuantizedWeight] = {}           # homes that were loaded as codes

    def forward(self, x: Tensor, residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, which may be x, residual += alpha * that, and it is returned."""
        if residual is x:
            x = self._copied(x)                               # the shared expert adds to x before the experts read it
        out = self._mixed(x, residual, alpha)
        return out if self.bias is None or not self.columns.is_first else out.add_(self.bias, alpha=alpha)

    def _mixed(self, x: Tensor, residual: Tensor | None, alpha: float) -> Tensor:
        """As forward, without the bias of the sum."""
        logits, scale = self.router(x), self.spec.scale
        experts = self._of_weighted_inputs if self.spec.scales_input else self.experts
        if self.shared_gate is not None and self.shared is not None:
            out = experts(x, logits, self.shared(x) * torch.sigmoid(self.shared_gate(x)), scale)
            return out if residual is None else residual.add_(out, alpha=alpha)
        if self.shared is not None:
            residual = self.shared(x, residual, alpha)
        if residual is not None:
            return experts(x, logits, residual, alpha * scale)
        out = experts(x, logits)
        return out if scale == 1 else out.mul_(scale)

    def _copied(self, x: Tensor) -> Tensor:
        copy = self.scratch.take("mixture_input", x.shape[0], x.shape[1], x.dtype)
        self.copy_choice.run(x, copy)
        return copy

    def _of_weighted_inputs(self, x: Tensor, logits: Tensor, residual: Tensor | None = None,
                            alpha: float = 1.0) -> Tensor:
        """As the kernel's mixture, of a row for each token and expert, whose weight is in it already."""
        weights, chosen = self.routing.route(logits)
        top = chosen.shape[1]
        rows = x.repeat_interleave(top, dim=0) * weights.reshape(-1, 1).to(x.dtype)
        ones = torch.ones(len(rows), 1)
        out = self.experts(rows, Routed(ones, chosen.reshape(-1, 1))).view(-1, top, x.shape[1]).sum(dim=1)
        return add_to(residual, out, alpha)

    def finish_loading(self) -> None:
        """Give the experts' matrices to the kernel: the homes are no longer valid."""
        spec = self.spec
        self.routing = Routing(
            top_k=spec.num_experts_per_token, renormalize=spec.renormalize, act=self.act, scores=spec.scores,
            jitter=spec.jitter, chooses_by=spec.chooses_by, softcap=spec.router_softcap,
            num_groups=spec.num_groups, groups_per_token=spec.groups_per_token, group_best=spec.group_best,
            choice_bias=None if self.choice_bias is None else self.choice_bias.data, gated=spec.expert.gated)
        gate_up, down = (experts_with_codes(weight.data, self._codes_of(names, self.codes))
                         for weight, names in ((self.gate_up, self.inner), (self.down, ("down",))))
        routing = replace(self.routing, top_k=1) if spec.scales_input else self.routing
        self.experts = self.choice.prepare(gate_up, down, routing, self._biases())
        self.gate_up, self.down, self.codes = shape_only(self.gate_up), shape_only(self.down), {}

    def _biases(self) -> Biases | None:
        """Of all experts. What sums over shards has once, the first adds."""
        if self.gate_up_bias is None or self.down_bias is None:
            return None
        down = self.down_bias.data if self.columns.is_first else torch.zeros_like(self.down_bias)
        return Biases(self.gate_up_bias.data, down)

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer."""
        self.codes[part] = weight.weight_only()

    def _codes_of(self, names: tuple[str, ...],
                  codes: Mapping[str, QuantizedWeight]) -> list[list[QuantizedWeight | None]]:
        """The codes of each expert's matrices with these names; None: numbers."""
        return [[codes.get(f"experts.{expert}.{name}.weight") for name in names]
                for expert in range(self.spec.num_experts)]

    def own_homes(self) -> dict[str, Home]:
        """As Layer: each expert's matrices."""
        homes, size, span = {}, self.spec.expert.intermediate_size, self.columns
        for expert, (gate_up, down) in enumerate(zip(self.gate_up.data, self.down.data, strict=True)):
            for name, view, rows, columns in (*((name, part, span, None) for name, part
                                                in zip(self.inner, gate_up.split(size), strict=True)),
                                              ("down", down, None, span)):
                part = f"experts.{expert}.{name}.weight"
                homes[part] = Home(view, self, part, rows=rows, columns=columns)
        if self.gate_up_bias is not None and self.down_bias is not None:
            for expert, (both, down) in enumerate(zip(self.gate_up_bias.data, self.down_bias.data, strict=True)):
                for name, view, rows in (*((name, part, span) for name, part
                                           in zip(self.inner, both.split(size), strict=True)), ("down", down, None)):
                    homes[f"experts.{expert}.{name}.bias"] = Home(view, self, f"experts.{expert}.{name}.bias", rows)
        if self.bias is not None:
            homes["bias"] = Home(self.bias.data, self, "bias")
        if self.choice_bias is not None:
            homes["choice.bias"] = Home(self.choice_bias.data, self, "choice.bias")
        return homes

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer. All experts of a layer are codes of one format, or all become floats."""
        vectors = self.bias, self.choice_bias, self.gate_up_bias, self.down_bias
        total = sum(map(self.plain_bytes, filter_none(vectors)))
        for case, parameter, names in ((self.gate_up_case, self.gate_up, self.inner),
                                       (self.down_case, self.down, ("down",))):
            if not self.is_native:
                total += parameter.numel() * parameter.element_size()
                continue
            found = [row for expert in self._codes_of(names, codes) for row in expert]
            formats = {None if row is None else row.format for row in found}
            row = found[0].weight_only() if len(formats) == 1 and found[0] is not None else None
            total += self.spec.num_experts * product_bytes(case, row)
        return total

    def token_bytes(self, native: bool) -> int:
        """As Layer. Native kernels hold the results of a token's experts in float32."""
        shared = 0 if self.spec.shared is None else self.spec.shared.intermediate_size
        top, size, width = self.spec.num_experts_per_token, self.spec.expert.intermediate_size, self.down.element_size()
        if not native:
            return 4 * (size * top + shared) * width
        return shared * width + top * (size * width + 4 * self.down.shape[1])

    def num_idle_parameters(self) -> int:
        idle = self.spec.num_experts - self.spec.num_experts_per_token
        return idle * (self.gate_up[0].numel() + self.down[0].numel())

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.spec.num_experts_per_token * (self.gate_up[0].numel() + self.down[0].numel())

    def homes(self) -> dict[str, Home]:
        homes = self.router.homes() | self.own_homes()
        if self.shared is not None:
            homes |= {f"shared.{name}": view for name, view in self.shared.homes().items()}
        if self.shared_gate is not None:
            homes |= self.shared_gate.homes()
        return homes


def experts_with_codes(weight: Tensor,
                       codes: Sequence[Sequence[QuantizedWeight | None]]) -> Tensor | list[QuantizedWeight]:
    """Loaded matrices [X, R, K], or codes for each expert when all came as codes of one format.

    codes: of each expert's parts, which share its rows equally; None for numbers.
    """
    if not any(any(parts) for parts in codes):
        return weight
    whole = (stacked([weight if part is None else part for part in parts]) for parts in codes)
    experts = [expert for expert in whole if expert is not None]
    if len(experts) == len(codes) and all(expert.format == experts[0].format for expert in experts):
        return experts
    for matrix, parts in zip(weight, codes, strict=True):
        for rows, part in zip(matrix.chunk(len(parts)), parts, strict=True):
            if part is not None:
                rows.copy_(part.dequantize(weight.dtype))
    return weight
