"""Which feed-forward part a layer has: an MLP's products and activation, or a mixture's router and experts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from torch import Tensor

from weft.architectures.names import Plain
from weft.architectures.spec import Activation, MLPSpec
from weft.discover.found import Found, Taken
from weft.discover.no_part import NoPartError
from weft.discover.traced import CLOSE, Product
from weft.ops.activation import activation
from weft.testing.diagnosis import difference

# One name for each function; "swish" is silu.
ACTS: tuple[Activation, ...] = tuple(name for name in get_args(Activation) if name != "swish")


def find_mlp(name: str, products: list[Product]) -> Found:
    """The MLP of some products: up and down, gate, up and down, or gate with up and down.

    name: of the layer, for errors. NoPartError names the nearest candidate.
    """
    if len(products) not in (2, 3):
        raise NoPartError(name, f"a feed-forward part of {len(products)} products: "
                                f"{', '.join(x.name for x in products)}")
    downs = [x for x in products if all(x.given.shape[1] != y.given.shape[1] or difference(x.given, y.given) > CLOSE
                                        for y in products if y is not x)]
    nearest: tuple[float, str, str] = (float("inf"), "", name)
    for down in downs if len(products) == 3 else products[::-1]:
        before = [x for x in products if x is not down]
        ways = [(difference(made, down.given), spec, taken) for made, spec, taken in _ways(before, down)]
        if not ways:
            continue
        found, spec, taken = min(ways, key=lambda way: way[0])        # activations differ little: the best counts
        if found <= CLOSE:
            return _found(spec, taken, before, down)
        nearest = min(nearest, (found, spec.describe(), down.name))
    raise NoPartError(name, "an MLP", nearest=nearest[1], difference=nearest[0])


def _ways(before: list[Product], down: Product) -> Iterator[tuple[Tensor, MLPSpec, tuple[Taken, ...]]]:
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


def _taken(leaf: Product, *targets: str) -> Taken:
    return Taken(leaf.name, targets, Plain(transposed=leaf.transposed))


def _found(spec: MLPSpec, taken: tuple[Taken, ...], before: list[Product], down: Product) -> Found:
    biases = {x.bias is not None for x in before}
    has_down = down.bias is not None
    if len(biases) > 1 or (True in biases and not has_down):
        raise NoPartError(down.name, "biases of some of an MLP's products")
    has = biases.pop()
    spec = MLPSpec(intermediate_size=spec.intermediate_size, act=spec.act, gated=spec.gated, bias=has,
                   down_bias=has_down and not has)
    leaves = (*before, down)
    return Found(spec, before[0].given, down.result, (*taken, _taken(down, "down")),
                 frozenset(x.name for x in leaves))
