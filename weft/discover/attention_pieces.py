"""The leaves of a layer's attention: the products in and out, norms, a gate, sinks.

The first product whose input depends on earlier tokens is the product out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from weft.discover.no_part import NoPartError
from weft.discover.norms import is_norm
from weft.discover.traced import Leaf, Product, Traced, same


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The leaves of a layer's attention. name: its module. ins: products of what goes in; out: the product out.

    wanted: what all heads give, before out_norm and out. gate: the product that gates it. sinks: (name, numbers).
    """

    name: str
    ins: list[Product]
    out: Product
    norms: list[Leaf]
    others: list[Leaf]
    wanted: Tensor
    out_norm: Leaf | None = None
    gate: Product | None = None
    sinks: tuple[str, Tensor] | None = None

    def readings(self) -> Iterator[Pieces]:
        """The pieces with each product that may be a gate as the gate, or with none."""
        if len(self.ins) <= 3:
            yield self
        for gate in self.ins[::-1] if len(self.ins) > 1 else ():
            if gate.result.shape[1] == self.wanted.shape[1] or "gate" in gate.name or len(self.ins) == 4:
                yield replace(self, ins=[x for x in self.ins if x is not gate], gate=gate)


def attention_pieces(t: Traced, layer: int) -> Pieces:
    """The leaves of a layer's attention. NoPartError when no module mixes tokens, or several do."""
    prefix, mixed = t.layers[layer], t.after_mixing(layer)
    leaves = list(t.leaves(f"{prefix}."))
    out = next((x for x in leaves if isinstance(x, Product) and mixed.get(x.name, (False,))[0]), None)
    mixing = [name for name, (before, after) in mixed.items() if after and not before and name != prefix]
    inner = [name for name in mixing if not any(other.startswith(f"{name}.") for other in mixing)]
    if out is None or len(inner) > 1:
        raise NoPartError(prefix, f"{len(inner)} modules in which tokens meet ({', '.join(inner)})" if inner else
                          "no module in which tokens meet, before a product")
    name = inner[0] if inner else prefix
    within = [x for x in leaves if x.name.startswith(f"{name}.") and x.name != out.name]
    ins = [x for x in within if isinstance(x, Product) and not mixed[x.name][0]]
    norms = [x for x in within if is_norm(x)]
    known = {id(x) for x in (*ins, *norms)}
    others = [x for x in within if id(x) not in known and _has_numbers(x)]
    out_norm = next((x for x in norms if mixed[x.name][0] and same(x.result, out.given)), None)
    norms = [x for x in norms if x is not out_norm]
    wanted = out.given if out_norm is None else out_norm.given
    own = [(f"{name}.{key}", x.detach()) for key, x in t.model.get_submodule(name).named_parameters(recurse=False)]
    sinks = next((each for each in own if each[1].dim() == 1), None)
    return Pieces(name, ins, out, norms, others, wanted, out_norm, None, sinks)


def _has_numbers(leaf: Leaf) -> bool:
    return next(leaf.module.parameters(), None) is not None


def is_latent(pieces: Pieces) -> bool:
    """Whether some of the products read what a norm of another product's result gave."""
    return any(same(x.given, norm.result) for x in pieces.ins for norm in pieces.norms)
