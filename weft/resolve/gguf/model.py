"""The headers of a GGUF model's files, joined: most models are one file, large ones are split into parts.

`gguf/header.py` checks each header; this module checks that the parts belong together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.errors import CheckpointError
from weft.resolve.gguf.files import parts_of
from weft.resolve.gguf.header import GGUFHeader, GGUFTensor, read_gguf


@dataclass(frozen=True, slots=True)
class GGUFModel:
    """The joined headers of a model's files: the first file's metadata, and the tensors of all files."""

    path: Path
    parts: tuple[GGUFHeader, ...]

    @property
    def metadata(self) -> dict[str, Any]:
        return self.parts[0].metadata

    @property
    def tensors(self) -> dict[str, GGUFTensor]:
        return {name: tensor for part in self.parts for name, tensor in part.tensors.items()}


def read_gguf_model(path: Path) -> GGUFModel:
    """The joined headers of a model, given any of its files. CheckpointError names file and key."""
    parts = tuple(read_gguf(file) for file in parts_of(path))
    first = parts[0]
    for number, part in enumerate(parts):
        said = _count(part, "split.no", number), _count(part, "split.count", len(parts))
        if said != (number, len(parts)) and said != (0, 0):
            raise CheckpointError(f"{part.path}: split.no = {said[0]}, split.count = {said[1]}: expected {number} and "
                                  f"{len(parts)} by the names of the files. Pass the first part of a split model "
                                  "under the names it was downloaded with.")
    found = sum(len(part.tensors) for part in parts)
    total = _count(first, "split.tensors.count", found)
    if total != found:
        raise CheckpointError(f"{first.path}: split.tensors.count = {total}, the files have {found}: parts of "
                              "different models. Download the model again.")
    owners: dict[str, Path] = {}
    for part in parts:
        for name in part.tensors:
            if name in owners:
                raise CheckpointError(f"{name!r} is in two files: {owners[name]} and {part.path}.")
            owners[name] = part.path
    return GGUFModel(path, parts)


def _count(part: GGUFHeader, key: str, default: int) -> int:
    value = part.metadata.get(key, default)
    if not isinstance(value, int):
        raise CheckpointError(f"{part.path}: {key}: {type(value).__name__}, expected an integer.")
    return value
