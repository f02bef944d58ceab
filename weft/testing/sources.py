"""Which module of Transformers holds the parameters of a part of a described model: told by the family's own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from weft.architectures.names import Layout, NameMap, Plain
from weft.checkpoint.routing import Router, split_suffix, take_apart
from weft.layers.layer import Home, Layer


@dataclass(frozen=True, slots=True)
class Source:
    """A module of Transformers. number: which of the parts of its result belongs here; num_rows: sizes of all parts."""

    module: str
    layout: Layout
    number: int
    num_rows: tuple[int, ...]

    def part_of(self, result: Tensor) -> Tensor:
        """What belongs here of the module's result [T, N]."""
        layout = replace(self.layout, transposed=False) if isinstance(self.layout, Plain) else self.layout
        return take_apart(layout, result.T, self.num_rows)[self.number].T


class Sources:
    """{home without suffix: Source} of a model, and the names of Transformers' layers."""

    def __init__(self, homes: Mapping[str, Home], names: NameMap, reference: nn.Module) -> None:
        self._homes = homes
        self.by_home: dict[str, Source] = {}
        router, left = Router(names), {}
        for name, parameter in reference.named_parameters(remove_duplicate=False):
            route = router.route(name)
            known = route is not None and all(home in homes for home in route.homes)
            if route is None or not known:
                left[name] = parameter
                continue
            rows = tuple(homes[home].view.shape[0] for home in route.homes)
            for number, home in enumerate(route.homes):
                source = Source(split_suffix(name)[0], route.layout, number, rows)
                self.by_home.setdefault(split_suffix(home)[0], source)
        self._match_by_shape(left)

    def _match_by_shape(self, left: Mapping[str, Tensor]) -> None:
        """Homes whose tensor has another name in Transformers' modules than in files: the only one of its shape."""
        for home, found in self._homes.items():
            stem, suffix = split_suffix(home)
            layer = self.layer(_number(home))
            if stem in self.by_home or layer is None or ".experts." in home:
                continue
            fitting = [name for name, tensor in left.items() if name.startswith(f"{layer}.") and name.endswith(suffix)
                       and tuple(tensor.shape) == tuple(found.view.shape)]
            if len(fitting) == 1:
                self.by_home[stem] = Source(split_suffix(fitting[0])[0], Plain(), 0, (found.view.shape[0],))

    def layer(self, number: int | None) -> str | None:
        """The name of Transformers' layer for a block."""
        if number is None:
            return None
        for home, source in self.by_home.items():
            head, found, _ = source.module.partition(f".{number}.")
            if home.startswith(f"blocks.{number}.") and found:
                return f"{head}.{number}"
        return None

    def stems_of(self, layer: Layer) -> list[str]:
        """The homes of a layer's own parameters, without suffixes and in the order of its rows."""
        return list(dict.fromkeys(split_suffix(name)[0] for name, home in self._homes.items() if home.layer is layer))


def _number(home: str) -> int | None:
    parts = home.split(".")
    return int(parts[1]) if parts[0] == "blocks" else None
