"""Which feed-forward part a layer has: an MLP's products and activation, or a mixture's router and experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast, get_args

import torch
from torch import Tensor

from weft.architectures.names import Plain
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import XIELU, Activation, MLPSpec
from weft.discover.found import Found, Taken
from weft.discover.no_part import NoPartError
from weft.discover.norms import find_norm, is_norm
from weft.discover.traced import CLOSE, Leaf, Product, same
from weft.layers.mlp import TrainedXIELU
from weft.ops.activation import activation
from weft.testing.diagnosis import difference

_XIELU = ("alpha_p", "alpha_n", "beta", "eps")
# One name for each function; "swish" is silu.
ACTS: tuple[Activation, ...] = tuple(name for name in get_args(Activation) if name != "swish")


@torch.no_grad()
def find_mlp(reader: ConfigReader, name: str, products: list[Product], others: Sequence[Leaf] = ()) -> Found:
    """The MLP of some products: up and down, gate, up and down, or gate with up and down.

    name: of the layer, for errors. others: leaves of the layer that may belong to the MLP: a norm before the product
    down, an activation with numbers of its own. NoPartError names the nearest candidate.
    """
    if len(products) not in (2, 3):
        raise NoPartError(name, f"a feed-forward part of {len(products)} products: "
                                f"{', '.join(x.name for x in products)}")
    downs = [x for x in products if all(x.given.shape[1] != y.given.shape[1] or difference(x.given, y.given) > CLOSE
                                        for y in products if y is not x)]
    nearest: tuple[float, str, str] = (float("inf"), "", name)
    for down in downs if len(products) == 3 else products[::-1]:
        before = [x for x in products if x is not down]
        norm = next((x for x in others if is_norm(x) and same(x.result, down.given)), None)
        wanted = down.given if norm is None else norm.given
        ways = [(difference(made, wanted), spec, taken) for made, spec, taken in _ways(before, down, others)]
        if not ways:
            continue
        found, spec, taken = min(ways, key=lambda way: way[0])        # activations differ little: the best counts
        if found <= CLOSE:
            return _found(reader, spec, taken, before, down, norm)
        nearest = min(nearest, (found, spec.describe(), down.name))
    raise NoPartError(name, "an MLP", nearest=nearest[1], difference=nearest[0])


def _ways(before: list[Product], down: Product,
          others: Sequence[Leaf]) -> Iterator[tuple[Tensor, MLPSpec, tuple[Taken, ...]]]:
    """(what goes into the product down, spec, taken) of all ways to read the products before it."""
    size = down.given.shape[1]
    for act in ACTS:
        run = activation(act)
        spec = MLPSpec(intermediate_size=size, act=act, gated=True)
        if len(before) == 2 and all(x.result.shape[1] == size for x in before):
            for gate, up in (before, before[::-1]):
                made = run(gate.result.clone()) * up.result
                yield made, spec, (_taken(gate, "gate"), _taken(up, "up"))
        elif len(before) == 1 and before[0].result.shape[1] == 2 * size:
            halves = before[0].result.split(size, dim=1)
            for order in ((0, 1), (1, 0)):
                made = run(halves[order[0]].clone()) * halves[order[1]]
                targets = ("gate", "up") if order == (0, 1) else ("up", "gate")
                yield made, spec, (_taken(before[0], *targets),)
        elif len(before) == 1 and before[0].result.shape[1] == size:
            plain = MLPSpec(intermediate_size=size, act=act, gated=False)
            yield run(before[0].result.clone()), plain, (_taken(before[0], "up"),)

    for leaf in others if len(before) == 1 and before[0].result.shape[1] == size else ():
        if all(isinstance(getattr(leaf.module, name, None), Tensor) for name in _XIELU):
            taken = tuple(Taken(f"{leaf.name}.{name}", (f"act.{name}",)) for name in _XIELU)
            spec = MLPSpec(intermediate_size=size, act=XIELU(), gated=False)
            yield (TrainedXIELU.forward(cast("Any", leaf.module), before[0].result), spec,
                   (_taken(before[0], "up"), *taken))


def _taken(leaf: Product, *targets: str) -> Taken:
    return Taken(leaf.name, targets, Plain(transposed=leaf.transposed))


def _found(reader: ConfigReader, spec: MLPSpec, taken: tuple[Taken, ...], before: list[Product], down: Product,
           norm: Leaf | None) -> Found:
    biases = {x.bias is not None for x in before}
    has_down = down.bias is not None
    if len(biases) > 1 or (True in biases and not has_down):
        raise NoPartError(down.name, "biases of some of an MLP's products")
    has = biases.pop()
    spec = replace(spec, bias=has, down_bias=has_down and not has)
    leaves: list[Leaf] = [*before, down]
    taken = (*taken, _taken(down, "down"))
    if norm is not None:
        spec = replace(spec, inner_norm=find_norm(norm, reader))
        leaves.append(norm)
        taken = (*taken, Taken(norm.name, ("inner_norm",)))
    return Found(spec, before[0].given, down.result, taken,
                 frozenset(x.name for x in leaves))
