"""`Checkpoint`: the named tensors of a model directory, read one after another from memory-mapped files.

`open_checkpoint` chooses the files and reads only their headers. Knows no model and no part names.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from weft.checkpoint.gguf_file import GGUFShard
from weft.checkpoint.mapped import drop_pages
from weft.checkpoint.safetensors_file import SafetensorsShard
from weft.checkpoint.tensor_info import TensorInfo
from weft.checkpoint.torch_file import TorchShard
from weft.checkpoint.weight_files import WeightFiles, find_weight_files
from weft.config.human_bytes import human_bytes
from weft.errors import CheckpointError
from weft.ops.quantized import QuantizedWeight
from weft.resolve.gguf.files import check_gguf_file
from weft.resolve.gguf.model import read_gguf_model

PIECE_BYTES = 32 * 2**20      # bytes copied or compared at a time, so that few mapped pages are in memory at once


class Shard(Protocol):
    """One file of a checkpoint."""

    file: Path
    tensors: dict[str, TensorInfo]

    def is_mapped(self, name: str) -> bool:
        """True when the tensor is a view of the file's unmodified pages, which can be dropped after use."""
        ...

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """These tensors in the order of the file."""
        ...


class Checkpoint:
    """The tensors of a model by name. is_dummy: there are no tensors, and weights are random.

    is_gguf, is_mistral: tensor names are those of GGUF, or of Mistral's own format.
    """

    def __init__(self, path: Path, shards: Sequence[Shard] = (), tensors: dict[str, TensorInfo] | None = None, *,
                 is_dummy: bool = False, is_gguf: bool = False, is_mistral: bool = False) -> None:
        self.path, self.is_dummy, self.is_gguf, self.is_mistral = path, is_dummy, is_gguf, is_mistral
        self._shards = {shard.file: shard for shard in shards}
        self.tensors = {} if tensors is None else tensors

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return tuple(self._shards)

    def read(self, names: Collection[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of all or some tensors in file order. Advancing drops the pages of the tensor before."""
        wanted = self.tensors.keys() if names is None else names
        for shard in self._shards.values():
            here = {n for n in wanted if n in shard.tensors and self.tensors[n].file == shard.file}
            for name, tensor in shard.read(here) if here else ():
                yield name, tensor
                self.release(name, tensor)

    def is_spare(self, name: str) -> bool:
        """True for a tensor that may be left out if the model has no parameter for it."""
        return False

    def cost(self, as_codes: Collection[str] = ()) -> str:
        """A sentence about the memory that dequantizing costs, or "". as_codes: tensors that stay quantized."""
        found = [info for name, info in self.tensors.items() if info.quantization is not None and name not in as_codes]
        if not found:
            return ""
        kinds = ", ".join(sorted({str(info.quantization) for info in found}))
        needed, stored = sum(info.num_bytes for info in found), sum(info.stored_bytes or 0 for info in found)
        dtype = str(found[0].dtype).removeprefix("torch.")
        return (f"{self.path.name}: {len(found)} of {len(self.tensors)} tensors are quantized ({kinds}) and become "
                f"{dtype} as they are loaded, because no kernel computes with them as they are: {human_bytes(needed)} "
                f"of memory instead of {human_bytes(stored)}.")

    def has_codes(self, name: str) -> bool:
        """Whether a tensor has integer codes (quantized values), which `quantized` returns."""
        shard = self._shards[self.tensors[name].file]
        return isinstance(shard, GGUFShard) and shard.has_codes(name)

    def codes_are_turned(self, name: str) -> bool:
        """Whether a tensor's codes are those of the transposed matrix."""
        return False

    def code_row(self, name: str) -> QuantizedWeight | None:
        """A row of zeros in the format of `quantized`, known from headers alone; None for a tensor without codes."""
        shard = self._shards[self.tensors[name].file]
        return shard.code_row(name) if isinstance(shard, GGUFShard) else None

    def has_int8_activations(self, name: str) -> bool:
        """Whether products with a tensor's codes are computed in integers (QuantizedWeight.int8_activations)."""
        return False

    def quantized(self, name: str) -> QuantizedWeight | None:
        """A tensor as its stored integer codes; None for a tensor without codes, which only `read` returns.

        Rows are those of the tensor with all dimensions but the last flattened. `routing.quantized_parts` divides it
        among its homes.
        """
        shard = self._shards[self.tensors[name].file]
        return shard.quantized(name) if isinstance(shard, GGUFShard) else None

    def stored(self, name: str) -> Tensor:
        """A tensor in its stored form: its values, or the bytes of its quantized blocks."""
        shard = self._shards[self.tensors[name].file]
        if self.tensors[name].quantization is not None and isinstance(shard, GGUFShard):
            return shard.raw(name)
        return next(tensor for _, tensor in shard.read([name]))

    def release(self, name: str, tensor: Tensor) -> None:
        """Drop the memory-mapped pages behind a piece of tensor `name`; the piece can be read again."""
        if self._shards[self.tensors[name].file].is_mapped(name):
            drop_pages(tensor)


def open_checkpoint(path: Path, load_format: str = "auto", dtype: torch.dtype = torch.float32) -> Checkpoint:
    """The checkpoint in a directory (or one weight file). CheckpointError names the file that is missing or broken.

    load_format: auto, safetensors, pt, mistral, gguf, or dummy (no file is opened). dtype: the dtype that GGUF's
    quantized tensors are dequantized to.
    """
    if load_format == "dummy":
        return Checkpoint(path, is_dummy=True)
    if check_gguf_file(path):
        gguf_shards = [GGUFShard(part, dtype) for part in read_gguf_model(path).parts]
        tensors = {name: info for shard in gguf_shards for name, info in shard.tensors.items()}
        return Checkpoint(path, gguf_shards, tensors, is_gguf=True)
    found = find_weight_files(path, load_format)
    kind = SafetensorsShard if found.is_safetensors else TorchShard
    shards = [kind(file) for file in found.files]
    return Checkpoint(path, shards, _by_name(shards, found), is_mistral=found.is_mistral)


def _by_name(shards: Sequence[Shard], found: WeightFiles) -> dict[str, TensorInfo]:
    """{name: tensor} of all shards. A name in the index is taken only from the file that the index gives."""
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
    if (a.shape, a.dtype, a.quantization) != (b.shape, b.dtype, b.quantization):
        return False
    held = {name: checkpoint.stored(name) for name in (first, second)}
    rows = max(1, PIECE_BYTES // max(1, a.num_bytes // max(1, math.prod(a.shape[:1]))))
    for x, y in zip(held[first].split(rows), held[second].split(rows), strict=True):
        equal = torch.equal(x, y)
        checkpoint.release(first, x)
        checkpoint.release(second, y)
        if not equal:
            return False
    return True
