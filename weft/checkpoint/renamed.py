"""`RenamedCheckpoint`: a GGUF file, or one of Mistral's format, under the names that Hugging Face files have.

The `load_weights` of programmed models knows Hugging Face names only. A tensor's way is from the file's name to its
homes (part names of the family), and from these back to a Hugging Face name, whose rule says how it is stored there.
The rules that undo what the file's writer rearranged (rows of q and k, stacked experts) are those of described models.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from weft.architectures.names import NameMap, Plain
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.routing import (
    Route,
    Router,
    has_rows,
    matches,
    put_together,
    split_suffix,
    take_apart,
)
from weft.checkpoint.tensor_info import TensorInfo
from weft.errors import CheckpointError
from weft.ops.quantized import QuantizedWeight, stacked

_SHOWN = 8
T = TypeVar("T", Tensor, "_Codes")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a stored tensor. stored: its name; index: which of its route's homes; row: of that home, None: all."""

    stored: str
    index: int
    row: int | None = None


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor under its Hugging Face name: how such files store it, and what it is put together of."""

    route: Route
    pieces: tuple[_Piece, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the stored tensors, each once."""
        return tuple(dict.fromkeys(piece.stored for piece in self.pieces))


@dataclass(frozen=True, slots=True)
class _Codes:
    """A stored tensor's codes (quantized values); None: it has none after all."""

    weight: QuantizedWeight | None


class RenamedCheckpoint(Checkpoint):
    """The tensors of `stored` under the names of `hf`. names: the family's in such files.

    home_rows: {home: rows} of the family's model; asked only where a stored tensor has several homes.
    CheckpointError for tensors without a Hugging Face name, and for such whose shape does not fit their layout.
    """

    def __init__(self, stored: Checkpoint, names: NameMap, hf: NameMap,
                 home_rows: Callable[[], Mapping[str, int]]) -> None:
        super().__init__(stored.path)
        self._stored, self._hf, self._home_rows = stored, hf, home_rows
        self._held: tuple[str, Tensor | _Codes] | None = None
        router = Router(names)
        self._routes = {name: route for name in stored.tensors if (route := router.route(name)) is not None}
        self._shapes = {name: self._shapes_of(name) for name in self._routes}
        lost = [name for name in stored.tensors if name not in self._routes and not router.is_ignored(name)]
        self._tensors = self._put_under_hf_names(lost)
        self._last_user = {source: name for name, tensor in self._tensors.items() for source in tensor.sources}
        self.tensors = {name: self._info(name, tensor) for name, tensor in self._tensors.items()}

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return self._home_rows()

    @property
    def files(self) -> tuple[Path, ...]:
        return self._stored.files

    # Names

    def _put_under_hf_names(self, lost: list[str]) -> dict[str, _Tensor]:
        """In the order of the stored tensors. lost: names that lead to no home; others without a way are added."""
        router, places = Router(self._hf), self._places()
        found: dict[str, _Tensor] = {}
        done: set[str] = set()
        for home, piece in places.items():
            if home in done:
                continue
            for name in router.sources_of(home):              # the first is how today's files have it
                route = router.route(name)
                if route is not None and all(other in places for other in route.homes):
                    found[name] = _Tensor(route, tuple(places[other] for other in route.homes))
                    done.update(route.homes)
                    break
            else:
                lost.append(piece.stored)
        if lost:
            names = list(dict.fromkeys(lost))
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise CheckpointError(f"{self.path}: {len(names)} tensors have no name in Hugging Face files of this "
                                  f"family, by which load_weights would know them: {', '.join(names[:_SHOWN])}{more}. "
                                  "Do config and file belong together?")
        return found

    def _places(self) -> dict[str, _Piece]:
        """{home: where it is stored}. CheckpointError for a home that is stored twice."""
        places: dict[str, _Piece] = {}
        for name, route in self._routes.items():
            for index, home in enumerate(route.homes):
                for place, row in self._rows_of(home, name, index):
                    if place in places:
                        raise CheckpointError(f"{self.path}: {name} and {places[place].stored} are both {place}.")
                    places[place] = _Piece(name, index, row)
        return places

    def _rows_of(self, home: str, name: str, index: int) -> Iterator[tuple[str, int | None]]:
        """A home, or each of its rows where Hugging Face files store it row by row."""
        stem, suffix = split_suffix(home)
        if any(matches(pattern, stem) for pattern in self._hf.by_row):
            yield from ((f"{stem}.{row}{suffix}", row) for row in range(self._shapes[name][index].shape[0]))
        else:
            yield home, None

    # Shapes, from headers

    def _shapes_of(self, stored: str) -> list[Tensor]:
        """The parts of a stored tensor for its homes, on "meta"."""
        info = self._stored.tensors[stored]
        return self._parts(stored, torch.empty(info.shape, dtype=info.dtype, device="meta"))

    def _parts(self, stored: str, tensor: Tensor) -> list[Tensor]:
        try:
            return take_apart(self._routes[stored].layout, tensor, self._num_rows(stored))
        except ValueError as error:
            raise CheckpointError(f"{self.path}: {stored} is {list(tensor.shape)}: {error}.") from error

    def _num_rows(self, stored: str) -> Sequence[int]:
        route = self._routes[stored]
        if len(route.homes) == 1 or not isinstance(route.layout, Plain):
            return [1] * len(route.homes)                     # other layouts know their rows themselves
        return [self._rows.get(home, 0) for home in route.homes]

    def _info(self, name: str, tensor: _Tensor) -> TensorInfo:
        parts = [_of_row(self._shapes[piece.stored][piece.index], piece.row) for piece in tensor.pieces]
        whole = put_together(tensor.route.layout, parts)
        infos = [self._stored.tensors[source] for source in tensor.sources]
        info = replace(infos[0], name=name, shape=tuple(whole.shape))
        if info.stored_bytes is None:
            return info
        bytes_here = sum(part.numel() * _bytes_per_number(self._stored.tensors[piece.stored])
                         for part, piece in zip(parts, tensor.pieces, strict=True))
        return replace(info, stored_bytes=int(bytes_here))

    # Numbers

    def read(self, names: Collection[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of all or some tensors, in the order in which the stored ones complete them."""
        chosen = self._tensors.keys() if names is None else set(names)
        wanted = [name for name in self._tensors if name in chosen]
        if len(wanted) == 1:
            yield wanted[0], self._numbers(wanted[0])
            return
        missing = {name: set(self._tensors[name].sources) for name in wanted}
        users: dict[str, list[str]] = {}
        for name, sources in missing.items():
            for source in sources:
                users.setdefault(source, []).append(name)
        parts: dict[str, list[Tensor]] = {}
        for source, tensor in self._stored.read(users.keys()):
            parts[source] = self._parts(source, tensor)
            for name in users[source]:
                missing[name].discard(source)
                if not missing[name]:
                    yield name, self._whole(name, parts)
            for done in [key for key in parts if not any(missing[name] for name in users[key])]:
                del parts[done]

    def _numbers(self, name: str) -> Tensor:
        """One tensor."""
        tensor = self._tensors[name]
        parts = {source: self._parts(source, self._kept(source, Tensor, self._read_one)) for source in tensor.sources}
        self._drop_after(name)
        return self._whole(name, parts)

    def _read_one(self, stored: str) -> Tensor:
        return next(iter(self._stored.read([stored])))[1]

    def _whole(self, name: str, parts: Mapping[str, list[Tensor]]) -> Tensor:
        tensor = self._tensors[name]
        return put_together(tensor.route.layout, [_of_row(parts[piece.stored][piece.index], piece.row)
                                                  for piece in tensor.pieces])

    def _kept(self, stored: str, kind: type[T], read: Callable[[str], T]) -> T:
        """What `read` makes of a stored tensor, kept until another is asked for: experts that lie in one tensor are
        asked for one by one.
        """
        kept = None if self._held is None or self._held[0] != stored else self._held[1]
        value = kept if isinstance(kept, kind) else read(stored)
        self._held = (stored, value)
        return value

    def _drop_after(self, name: str) -> None:
        """Keep no stored tensor whose last user is `name`."""
        if self._held is not None and self._last_user[self._held[0]] == name:
            self._held = None

    # Codes (quantized values)

    def has_codes(self, name: str) -> bool:
        return self.code_row(name) is not None

    def codes_are_turned(self, name: str) -> bool:
        layout = self._tensors[name].route.layout
        return isinstance(layout, Plain) and layout.transposed and len(self.tensors[name].shape) == 2

    def code_row(self, name: str) -> QuantizedWeight | None:
        tensor = self._tensors[name]
        layouts = [self._routes[source].layout for source in tensor.sources]
        if not self.codes_are_turned(name):
            layouts.append(tensor.route.layout)
        rows = [self._stored.code_row(source) for source in tensor.sources]
        if rows[0] is None or not all(map(has_rows, layouts)):
            return None
        return rows[0] if all(row is not None and row.format == rows[0].format for row in rows) else None

    def has_int8_activations(self, name: str) -> bool:
        return all(map(self._stored.has_int8_activations, self._tensors[name].sources))

    def quantized(self, name: str) -> QuantizedWeight | None:
        if not self.has_codes(name):
            return None
        tensor = self._tensors[name]
        pieces = [codes for piece in tensor.pieces if (codes := self._piece_codes(piece)) is not None]
        self._drop_after(name)
        if len(pieces) < len(tensor.pieces):
            return None                                       # reordered columns (GPTQ's g_idx), seen as it was read
        if len(pieces) == 1:
            return pieces[0]
        whole = stacked(pieces)
        assert whole is not None, "has_codes has compared the formats"
        numbers = torch.arange(whole.shape[0]).split([piece.shape[0] for piece in pieces])
        return whole.rows(put_together(tensor.route.layout, numbers))      # of vectors, which no layout turns

    def _piece_codes(self, piece: _Piece) -> QuantizedWeight | None:
        stored, route = piece.stored, self._routes[piece.stored]
        weight = self._kept(stored, _Codes, lambda name: _Codes(self._stored.quantized(name))).weight
        if weight is None or (isinstance(route.layout, Plain) and len(route.homes) == 1):
            return weight
        order = torch.arange(weight.shape[0]).view(self._stored.tensors[stored].shape[:-1])
        return weight.rows(self._parts(stored, order)[piece.index].flatten())

    # Questions about a tensor

    def stored(self, name: str) -> Tensor:
        """A tensor's numbers: rows may be in another order than in the file."""
        return next(iter(self.read([name])))[1]

    def release(self, name: str, tensor: Tensor) -> None:
        """Nothing: the pages are dropped as the stored tensors are read."""

    def is_spare(self, name: str) -> bool:
        return all(map(self._stored.is_spare, self._tensors[name].sources))


def _of_row(part: Tensor, row: int | None) -> Tensor:
    return part if row is None else part[row]


def _bytes_per_number(info: TensorInfo) -> float:
    return (info.stored_bytes or info.num_bytes) / max(1, info.num_bytes) * info.dtype.itemsize
