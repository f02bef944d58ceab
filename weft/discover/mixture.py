"""Which mixture of experts a layer has: its router's rule is tried until the weighted sum of experts agrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.architectures.names import Plain, Stacked, VectorAsRow
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import ClampedGLU, MLPSpec, MoESpec
from weft.discover.ffn import ACTS, find_mlp
from weft.discover.found import Found, Taken, Winners
from weft.discover.no_part import NoPartError
from weft.discover.traced import CLOSE, Product, Traced, same
from weft.layers.mlp import gate_of
from weft.ops.activation import activation
from weft.ops.moe.routing import Routing
from weft.testing.diagnosis import difference, ratio

_ALIKE = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")       # their sums differ by less than CLOSE
_CLOSEST = 1e-5
_ORDERS = ("gate first", "up first", "turns")
Named = tuple[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """The weights of a mixture by name. gate_up: [X, 2F, E]; down: [X, E, F]; router: [X, E]; choice: [X].

    transposed: experts' matrices are stored [in, out]. biases: [X, 2F] and [X, E] of the experts. router_bias: [X].
    """

    gate_up: tuple[str, Tensor]
    down: tuple[str, Tensor]
    router: tuple[str, Tensor]
    choice: tuple[str, Tensor] | None
    transposed: bool = False
    biases: tuple[tuple[str, Tensor], tuple[str, Tensor]] | None = None
    router_bias: Tensor | None = None


def mixture_name(t: Traced, layer: str, mixer: str) -> str | None:
    """The module of a layer that has experts and their router; None: there is none."""
    experts = [name for name, x in t.model.get_submodule(layer).named_parameters() if x.dim() == 3
               and not f"{layer}.{name}".startswith(f"{mixer}.")]
    if not experts:
        return None
    path = experts[0].split(".")[:-1]
    while path:
        name = f"{layer}.{'.'.join(path)}"
        module = t.model.get_submodule(name)
        has_matrix = any(x.dim() == 2 and "bias" not in key for key, x in module.named_parameters())
        if has_matrix and t.trace.input(name, len(t.ids)) is not None:
            return name
        path = path[:-1]
    raise NoPartError(f"{layer}.{experts[0]}", "experts without a router beside them")


def find_mixture(t: Traced, name: str, winners: Winners) -> Found:
    """The mixture of a module. NoPartError names the nearest candidate."""
    module, x, wanted = t.model.get_submodule(name), t.given(name), t.result(name)
    tensors = _tensors(name, module, x.shape[1])
    leaves = [leaf for leaf in t.leaves(f"{name}.") if isinstance(leaf, Product) and leaf.name != tensors.router[0]]
    shared, gate = _shared(t.reader, name, leaves)
    routed = wanted if shared is None else wanted - shared.result * (
        1.0 if gate is None else gate.result.sigmoid())
    logits = F.linear(x, tensors.router[1], tensors.router_bias)
    sums = {}
    nearest: tuple[float, str] = (float("inf"), "")
    for label, (routing, act, first) in winners.first("mixture", list(_ways(t, module, tensors))):
        if (act, first) not in sums:
            sums[act, first] = _all_experts(x, tensors, act, first)
        weights, chosen = routing.route(logits)
        dense = torch.zeros_like(logits).scatter(1, chosen, weights)
        made = torch.einsum("tx,xte->te", dense, sums[act, first])
        factor = 1.0 if difference(made, routed) <= CLOSE else ratio(routed, made)
        found = difference(made * (factor or 1.0), routed)
        if found <= _CLOSEST or (found <= CLOSE and act not in _ALIKE):
            winners.won("mixture", label)
            return _found(t, name, tensors, routing, act, first, float(f"{factor:.5g}"), shared, gate, wanted)
        nearest = min(nearest, (found, f"{routing.scores} scores, {act}"))
    raise NoPartError(name, "a mixture of experts", nearest=nearest[1], difference=nearest[0])


def with_shared(routed: Found, shared: Found) -> Found:
    """A mixture with an MLP beside it, which reads the same and is added."""
    if routed.part.shared is not None or not same(routed.given, shared.given):
        raise NoPartError(next(iter(shared.modules)), "an MLP beside a mixture that reads something else")
    taken = tuple(Taken(x.source, tuple(f"shared.{target}" for target in x.targets), x.layout) for x in shared.taken)
    return Found(replace(routed.part, shared=shared.part), routed.given, routed.result + shared.result,
                 (*routed.taken, *taken), routed.modules | shared.modules)


def _tensors(name: str, module: nn.Module, width: int) -> Tensors:
    known = [(f"{name}.{key}", x.detach()) for key, x in [*module.named_parameters(), *module.named_buffers()]]
    cubes = [(key, x) for key, x in known if x.dim() == 3]
    up, down, transposed = _experts(name, cubes, width)
    count = len(up[1])
    routers = [each for each in known if each[1].shape == (count, width) and "bias" not in each[0]]
    if len(routers) != 1 or not routers[0][0].endswith(".weight"):
        raise NoPartError(name, "a router that is one matrix")
    bias_name = f"{routers[0][0].removesuffix('.weight')}.bias"
    flat = [each for each in known if each[1].dim() == 2 and len(each[1]) == count and each is not routers[0]]
    biases = None
    if flat:
        if [each[1].shape[1] for each in flat] != [up[1].shape[1], width]:
            raise NoPartError(flat[0][0], "biases of experts of another form")
        biases = (flat[0], flat[1])
    choices = [each for each in known if each[1].shape in ((count,), (1, count)) and each[1].is_floating_point()
               and each[0] != bias_name]
    if len(choices) > 1:
        raise NoPartError(choices[1][0], "a router with more than one number for each expert")
    router = (routers[0][0].removesuffix(".weight"), routers[0][1])
    return Tensors(up, down, router, choices[0] if choices else None, transposed, biases, dict(known).get(bias_name))


def _experts(name: str, cubes: list[tuple[str, Tensor]], width: int) -> tuple[Named, Named, bool]:
    """(gate and up [X, 2F, E], down [X, E, F], whether they are stored the other way round)."""
    for transposed in (False, True):
        found = [(key, x.transpose(1, 2) if transposed else x) for key, x in cubes]
        for up, down in permutations(found) if len(found) == 2 else ():
            if up[1].shape[2] == width == down[1].shape[1] and up[1].shape[1] == 2 * down[1].shape[2]:
                return up, down, transposed
    raise NoPartError(name, f"experts of tensors {', '.join(f'{key} {list(x.shape)}' for key, x in cubes)}")


def _shared(reader: ConfigReader, name: str, leaves: list[Product]) -> tuple[Found | None, Product | None]:
    """(the MLP that all tokens pass, the product that its gate is)."""
    gates = [x for x in leaves if x.result.shape[1] == 1]
    rest = [x for x in leaves if x not in gates]
    if len(gates) > 1 or (gates and not rest):
        raise NoPartError(gates[0].name, "a product of one number that gates no shared expert")
    return (find_mlp(reader, name, rest) if rest else None), (gates[0] if gates else None)


def _ways(t: Traced, module: nn.Module, tensors: Tensors) -> Iterator[tuple[Any, tuple[Routing, Any, str]]]:
    """(label, (routing, activation, order of gate's and up's rows)) of all rules."""
    count, jitter = len(tensors.router[1]), t.reader.value("router_jitter_noise")
    acts: list[Any] = [*ACTS, *_clamped(t)]
    for act, first, scores, renormalize, k, groups, choice in product(
            acts, _ORDERS, ("softmax", "sigmoid"), (True, False), _top_ks(t, module, count),
            _groups(t, count),
            (True, False) if tensors.choice else (False,)):
        if k == 2 and isinstance(jitter, float) and act in ACTS and not choice and groups[0] == 1:
            yield (act, first, "sparsemixer"), (Routing(top_k=2, renormalize=False, act=act, scores="sparsemixer",
                                                        jitter=jitter), act, first)
        best = (1, 2)[: count // groups[0]] if groups[0] > 1 else (1,)
        for group_best in best:
            bias = tensors.choice[1].flatten().float() if tensors.choice and choice else None
            yield (act, first, scores, renormalize, groups[0] > 1, choice, group_best), (Routing(
                top_k=k, renormalize=renormalize, act=act, scores=scores, num_groups=groups[0],
                groups_per_token=groups[1], group_best=group_best, choice_bias=bias), act, first)


def _top_ks(t: Traced, module: nn.Module, count: int) -> list[int]:
    own = [getattr(each, "top_k", None) for each in module.modules()]
    config = [x for key, x in t.reader.all_values().items() if "tok" in key or "top_k" in key or "topk" in key]
    return [x for x in dict.fromkeys((*own, *config)) if type(x) is int and 0 < x <= count][:3]


def _groups(t: Traced, count: int) -> list[tuple[int, int]]:
    values = t.reader.all_values()
    groups, used = values.get("n_group"), values.get("topk_group")
    if isinstance(groups, int) and isinstance(used, int) and groups > 1 and count % groups == 0 and used <= groups:
        return [(1, 1), (groups, used)]
    return [(1, 1)]


def _clamped(t: Traced) -> list[ClampedGLU]:
    """The clamped gates that a config may mean."""
    values = t.reader.all_values()
    limits = [float(x) for key, x in values.items() if "limit" in key and isinstance(x, int | float) and x > 0]
    alphas = [float(x) for key, x in values.items() if "alpha" in key and isinstance(x, int | float) and x > 0]
    return [ClampedGLU(limit=limit, alpha=alpha, up_offset=offset) for limit in dict.fromkeys(limits)
            for alpha in dict.fromkeys((*alphas, 1.702, 1.0)) for offset in (1.0, 0.0)]


def _all_experts(x: Tensor, tensors: Tensors, act: Any, order: str) -> Tensor:
    """[X, T, E]: every expert's result for every token."""
    inner = torch.einsum("te,xfe->xtf", x, tensors.gate_up[1])
    if tensors.biases is not None:
        inner = inner + tensors.biases[0][1].unsqueeze(1)
    gate, up = (inner[..., ::2], inner[..., 1::2]) if order == "turns" else inner.chunk(2, dim=-1)
    if order == "up first":
        gate, up = up, gate
    if isinstance(act, str):
        made = activation(act)(gate.contiguous().clone()) * up
    else:
        made = gate_of(act)(torch.cat((gate, up), dim=-1))
    out = torch.einsum("xtf,xef->xte", made, tensors.down[1])
    return out if tensors.biases is None else out + tensors.biases[1][1].unsqueeze(1)


def _found(t: Traced, name: str, tensors: Tensors, routing: Routing, act: Any, order: str, scale: float,
           shared: Found | None, gate: Product | None, result: Tensor) -> Found:
    if gate is not None and gate.bias is not None:
        raise NoPartError(gate.name, "a bias of the shared expert's gate")
    expert = MLPSpec(intermediate_size=tensors.down[1].shape[2], act=act, gated=True, bias=tensors.biases is not None)
    has_choice = routing.choice_bias is not None
    if tensors.choice is not None and not has_choice:
        raise NoPartError(tensors.choice[0], "numbers for each expert that change nothing")
    spec = MoESpec(
        num_experts=len(tensors.router[1]), num_experts_per_token=routing.top_k, expert=expert,
        renormalize=routing.renormalize, scores=routing.scores, jitter=routing.jitter,
        scale=scale, choice_bias=has_choice,
        num_groups=routing.num_groups, groups_per_token=routing.groups_per_token, group_best=routing.group_best,
        shared=None if shared is None else shared.part, shared_gate=gate is not None,
        router_bias=tensors.router_bias is not None)
    both = tuple(f"experts.{{e}}.{part}" for part in (("up", "gate") if order == "up first" else ("gate", "up")))
    layout = Stacked(halves=True, interleaved=order == "turns", transposed=tensors.transposed)
    taken = [Taken(tensors.router[0], ("router",)), Taken(tensors.gate_up[0], both, layout),
             Taken(tensors.down[0], ("experts.{e}.down",), Stacked(transposed=tensors.transposed))]
    if tensors.biases is not None:
        taken += [Taken(tensors.biases[0][0], both, layout), Taken(tensors.biases[1][0], ("experts.{e}.down",), Stacked(
            transposed=tensors.transposed))]
    if tensors.choice is not None:
        is_row = tensors.choice[1].dim() == 2
        taken.append(Taken(tensors.choice[0], ("choice.bias",), VectorAsRow() if is_row else Plain()))
    if shared is not None:
        taken += [Taken(x.source, tuple(f"shared.{target}" for target in x.targets), x.layout) for x in shared.taken]
    if gate is not None:
        taken.append(Taken(gate.name, ("shared_gate",)))
    return Found(spec, t.given(name), result, tuple(taken), frozenset())
