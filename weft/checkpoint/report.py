"""Reports of loading: `LoadReport` after success, `Faults` when names, shapes or dtypes do not fit.

Long lists are grouped: `blocks.{0..27}.mixer.q.weight` is one line. A "home" is a place in the model for a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from weft.checkpoint.grouping import group_names, pattern_of
from weft.checkpoint.routing import Route, Router
from weft.checkpoint.tensor_info import TensorInfo
from weft.config.human_bytes import human_bytes
from weft.errors import nearest

_MAX_LINES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Loading succeeded: numbers of tensors and bytes, the files, and the time in seconds."""

    num_tensors: int
    num_bytes: int
    seconds: float
    files: tuple[Path, ...]
    is_head_tied: bool
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.files:
            return f"random weights in {self.seconds:.1f} s"
        files = self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"
        return (f"{self.num_tensors} tensors, {human_bytes(self.num_bytes)}, from {files} in {self.seconds:.1f} s"
                + (", head tied to the embedding" if self.is_head_tied else ""))


@dataclass(slots=True)
class Faults:
    """All mismatches between a checkpoint and a model. True when there are any."""

    path: Path
    router: Router
    without_home: list[tuple[TensorInfo, Route | None]] = field(default_factory=list)
    without_tensor: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    shapes: list[tuple[TensorInfo, str, str]] = field(default_factory=list)
    dtypes: list[tuple[TensorInfo, str, torch.dtype]] = field(default_factory=list)
    filled_twice: list[tuple[TensorInfo, TensorInfo, str]] = field(default_factory=list)
    unlike: list[tuple[TensorInfo, TensorInfo]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.without_home, self.without_tensor, self.shapes, self.dtypes, self.filled_twice,
                    self.unlike))

    def text(self) -> str:
        """The whole report."""
        sections = [
            ("tensor without a home", "tensors without a home", self.without_home, self._homeless),
            ("parameter without a tensor", "parameters without a tensor", self.without_tensor, self._empty),
            ("shape clash", "shape clashes", self.shapes, self._shape_lines),
            ("dtype clash", "dtype clashes", self.dtypes, self._dtype_lines),
            ("parameter with two tensors", "parameters with two tensors", self.filled_twice, self._twice_lines),
            ("tensor unlike another one of the same parameter", "tensors unlike other ones of the same parameter",
             self.unlike, self._unlike_lines),
        ]
        found = [(one if len(entries) == 1 else many, entries, lines)
                 for one, many, entries, lines in sections if entries]
        totals = ", ".join(f"{len(entries)} {title}" for title, entries, _ in found)
        body = [f"\n{title[0].upper()}{title[1:]} ({len(entries)}):\n" + _capped(lines())
                for title, entries, lines in found]
        return f"{self.path}: the weights do not fit the model: {totals}." + "".join(body) + f"\n{self._advice()}"

    def _homeless(self) -> list[str]:
        expected = {pattern_of(source): source
                    for home, _ in self.without_tensor for source in self.router.sources_of(home)}
        out = []
        for group in group_names((info.name, _described(info), info.file) for info, _ in self.without_home):
            near = _nearest(group.pattern, expected)
            route = self.router.route(group.first)
            note = f"; the model has no {', '.join(route.homes)}" if route else f"; nearest: {near}" if near else ""
            out.append(f"{group}{note}")
        return out

    def _empty(self) -> list[str]:
        spare = {pattern_of(info.name): info.name for info, route in self.without_home if route is None}
        out = []
        for group in group_names((home, str(list(shape)), None) for home, shape in self.without_tensor):
            sources = self.router.sources_of(group.first)
            near = next((n for source in sources if (n := _nearest(pattern_of(source), spare))), None)
            wanted = f"; expected {' or '.join(group.renamed(source) for source in sources)}" if sources else ""
            out.append(f"{group}{wanted}" + (f"; nearest in the checkpoint: {near}" if near else ""))
        return out

    def _shape_lines(self) -> list[str]:
        return _lines((info.name, f"{_described(info)} for {pattern_of(home)}: {why}", info.file)
                      for info, home, why in self.shapes)

    def _dtype_lines(self) -> list[str]:
        return _lines((info.name, f"{_described(info)} for {pattern_of(home)}: the model computes in "
                       f"{str(dtype).removeprefix('torch.')}; the checkpoint looks quantized", info.file)
                      for info, home, dtype in self.dtypes)

    def _twice_lines(self) -> list[str]:
        return [f"  {home}: {first.name} in {first.file.name} and {second.name} in {second.file.name}"
                for first, second, home in self.filled_twice]

    def _unlike_lines(self) -> list[str]:
        return [f"  {second.name} in {second.file.name} is no copy of {first.name} in {first.file.name}; the model has "
                "one parameter for both" for second, first in self.unlike]

    def _advice(self) -> str:
        if self.without_home and self.without_tensor:
            return "Names differ from what this architecture has: is config.json of the same model as the weights?"
        if [home for home, _ in self.without_tensor] == ["head.weight"]:
            return ("The checkpoint is incomplete; or, if its head shares the embedding, pass "
                    'hf_overrides={"tie_word_embeddings": true}.')
        if self.without_tensor:
            return "The checkpoint is incomplete, or config.json is of a larger model."
        if self.without_home:
            return "The checkpoint has more than this architecture: is config.json of the same model as the weights?"
        return "config.json and the weights are not of the same model."


def _described(info: TensorInfo) -> str:
    return f"{info.dtype_name} {list(info.shape)}"


def _lines(entries: Iterable[tuple[str, str, Path | None]]) -> list[str]:
    return [str(group) for group in group_names(entries)]


def _nearest(pattern: str, names: dict[str, str]) -> str | None:
    """The pattern in `names` that is most similar to `pattern`, or None."""
    return next(iter(nearest(pattern, names)), None)


def _capped(lines: list[str]) -> str:
    more = [f"  … and {len(lines) - _MAX_LINES} more lines"] if len(lines) > _MAX_LINES else []
    return "\n".join([*lines[:_MAX_LINES], *more])
