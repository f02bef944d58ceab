"""What a search finds of one piece of a layer: a part, where its numbers come from, and what went in and came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from weft.architectures.names import Layout, Plain

_AS_IT_IS = Plain()


@dataclass(frozen=True, slots=True)
class Taken:
    """Homes that a module's weight and bias fill. source: the module's name, or a whole parameter's. layout: how the
    weight is stored.
    """

    source: str
    targets: tuple[str, ...]
    layout: Layout = _AS_IT_IS


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A part of a layer. given, result: [T, E] that go in and come out. taken: of its weights, homes within the part.
    modules: names of the leaves that the part stands for.
    """

    part: Any
    given: Tensor
    result: Tensor
    taken: tuple[Taken, ...]
    modules: frozenset[str]


class Winners:
    """Candidates that have agreed before, tried first: layers of a model are mostly alike."""

    def __init__(self) -> None:
        self._labels: dict[str, list[Any]] = {}

    def first(self, kind: str, candidates: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """(label, candidate) pairs, those with known labels first."""
        known = self._labels.get(kind, [])
        return sorted(candidates, key=lambda each: known.index(each[0]) if each[0] in known else len(known))

    def won(self, kind: str, label: Any) -> None:
        """Remember a candidate that agreed."""
        known = self._labels.setdefault(kind, [])
        if label in known:
            known.remove(label)
        known.insert(0, label)
