"""`Checkpoint`: the named tensors of a model directory, read one after another from memory-mapped files.

`open_checkpoint` chooses the files and reads their headers only. Knows no model and no part name.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from weft.checkpoint.mapped import drop_pages
from weft.checkpoint.safetensors_file import SafetensorsShard
from weft.checkpoint.tensor_info import TensorInfo
from weft.checkpoint.torch_file import TorchShard
from weft.checkpoint.weight_files import WeightFiles, find_weight_files
from weft.errors import CheckpointError

PIECE_BYTES = 32 * 2**20      # copied or compared at a time, so that few mapped pages are resident at once


class Shard(Protocol):
    """One file of a checkpoint."""

    file: Path
    tensors: dict[str, TensorInfo]

    def is_mapped(self, name: str) -> bool:
        """True when this tensor's memory is unmodified pages of the file, which can be dropped after use."""

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """These tensors in the order of the file."""


class Checkpoint:
    """Tensors by name. is_dummy: there are none, and weights are to be invented."""

    def __init__(self, path: Path, shards: Sequence[Shard] = (), tensors: dict[str, TensorInfo] | None = None, *,
                 is_dummy: bool = False) -> None:
        self.path, self.is_dummy = path, is_dummy
        self._shards = {shard.file: shard for shard in shards}
        self.tensors = {} if tensors is None else tensors

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return tuple(self._shards)

    def read(self, names: Collection[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of all or some tensors in file order. Asking for the next drops the pages of the last."""
        wanted = self.tensors.keys() if names is None else names
        for shard in self._shards.values():
            here = {n for n in shard.tensors if n in wanted and self.tensors[n].file == shard.file}
            for name, tensor in shard.read(here) if here else ():
                yield name, tensor
                self.release(name, tensor)

    def is_spare(self, name: str) -> bool:
        """True for a tensor that may be left out where the model has no parameter for it."""
        return False

    def cost(self) -> str:
        """What reading costs beyond copying, in a sentence; empty: nothing."""
        return ""

    def release(self, name: str, tensor: Tensor) -> None:
        """Let go of the memory behind a piece of tensor `name`; reading the piece again is possible."""
        if self._shards[self.tensors[name].file].is_mapped(name):
            drop_pages(tensor)


def open_checkpoint(path: Path, load_format: str = "auto") -> Checkpoint:
    """The checkpoint in a directory (or one weight file). CheckpointError naming the file that is missing or broken.

    load_format: auto, safetensors, pt, or dummy (no file is touched).
    """
    if load_format == "dummy":
        return Checkpoint(path, is_dummy=True)
    found = find_weight_files(path, load_format)
    kind = SafetensorsShard if found.is_safetensors else TorchShard
    shards = [kind(file) for file in found.files]
    return Checkpoint(path, shards, _by_name(shards, found))


def _by_name(shards: Sequence[Shard], found: WeightFiles) -> dict[str, TensorInfo]:
    """All tensors; where the index says which file a name is in, that one."""
    tensors: dict[str, TensorInfo] = {}
    for shard in shards:
        for name, info in shard.tensors.items():
            owner = found.owner.get(name, shard.file)
            if owner != shard.file:
                continue
            if name in tensors:
                raise CheckpointError(f"{name!r} is in two files: {tensors[name].file} and {shard.file}. "
                                      "Remove the file that does not belong to the checkpoint, or add its index.json.")
            tensors[name] = info
    lost = [name for name in found.owner if name not in tensors]
    if lost:
        shown = ", ".join(f"{name!r} in {found.owner[name].name}" for name in lost[:5])
        raise CheckpointError(f"{found.index}: names {len(lost)} tensors that are not in their files: {shown}"
                              f"{', …' if len(lost) > 5 else ''}. Index and files are of different checkpoints.")
    return tensors


def same_content(checkpoint: Checkpoint, first: str, second: str) -> bool:
    """True when two tensors of a checkpoint have equal shape, dtype and bits."""
    a, b = checkpoint.tensors[first], checkpoint.tensors[second]
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    held = dict(checkpoint.read([first, second]))
    rows = max(1, PIECE_BYTES // max(1, a.num_bytes // max(1, math.prod(a.shape[:1]))))
    for x, y in zip(held[first].split(rows), held[second].split(rows), strict=True):
        equal = torch.equal(x, y)
        checkpoint.release(first, x)
        checkpoint.release(second, y)
        if not equal:
            return False
    return True
