"""`Format`: what a quantization method has to answer; `Layout`: how one matrix of a checkpoint is stored.

A matrix is a group of stored tensors of one stem, e.g. `model.layers.0.mlp.up_proj` with .qweight, .qzeros and .scales.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from weft.checkpoint.quantization.matrix import Matrix
from weft.checkpoint.tensor_info import TensorInfo
from weft.ops.quantized import QuantizedWeight

FLOATS = (torch.float16, torch.bfloat16, torch.float32)
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class Misfit(Exception):
    """Why the tensors of a stem are no matrix of the format. The view collects them into one CheckpointError."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The format of a QuantizedMatrix, as far as settings and headers say: has_offsets: zero points differ."""

    bits: int
    group_size: int
    scales: torch.dtype
    has_offsets: bool = False

    def row(self, columns: int, *, int8_activations: bool = False) -> QuantizedWeight:
        """A row of zeros in the form that `QuantizedMatrix.packable` gives."""
        return _row(self, columns, int8_activations)


@dataclass(frozen=True, slots=True)
class Layout:
    """shape: of the weight that the group stands for. decode: from its tensors, by suffix, to the matrix.

    codes: the matrix is a QuantizedMatrix of this format, its columns in their own order as far as the settings say.
    int8_activations: as QuantizedWeight's.
    """

    shape: tuple[int, ...]
    decode: Callable[[Mapping[str, Tensor]], Matrix]
    codes: Codes | None = None
    int8_activations: bool = False

    @property
    def has_codes(self) -> bool:
        """Whether the matrix is codes that kernels may take."""
        return self.codes is not None


class Format(Protocol):
    """The quantization of one checkpoint: its settings, read and checked, and the layout of its tensors.

    method: its name. suffixes: of the tensors that make up a matrix, all of them. whole: what a matrix's stem is
    followed by in the name of the weight it stands for. facts: suffixes of small tensors whose content says the layout.
    """

    @property
    def method(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    @property
    def whole(self) -> str: ...

    @property
    def facts(self) -> tuple[str, ...]: ...

    def layout(self, stem: str, stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout | None:
        """How the tensors of a stem are to be read; None: they are what they are. Misfit when neither."""
        ...


def need(stored: Mapping[str, TensorInfo], suffix: str, dtypes: Collection[torch.dtype],
         *shapes: tuple[int, ...]) -> TensorInfo:
    """The tensor of a suffix. Misfit unless it is there, of one of the dtypes and (when given) of one of the shapes."""
    info = stored.get(suffix)
    if info is None:
        raise Misfit(f"{suffix} is missing; there {'is' if len(stored) == 1 else 'are'} {', '.join(stored)}")
    if info.dtype not in dtypes:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise Misfit(f"{suffix} is {info.dtype_name} {list(info.shape)}, expected {names}")
    if shapes and info.shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise Misfit(f"{suffix} is {info.dtype_name} {list(info.shape)}, expected {expected}")
    return info


def stored_as_parts(stored: Mapping[str, TensorInfo], parts: Collection[str]) -> bool:
    """Whether a stem is stored as these tensors. Misfit when it is stored as a plain weight, too."""
    if not any(suffix in stored for suffix in parts):
        return False
    if ".weight" in stored:
        raise Misfit(f"is stored twice: .weight beside {', '.join(s for s in stored if s != '.weight')}")
    return True


def need_matrix(stored: Mapping[str, TensorInfo], suffix: str, dtypes: Collection[torch.dtype]) -> tuple[int, int]:
    """The shape of a tensor of two dimensions, none of them 0."""
    info = need(stored, suffix, dtypes)
    if len(info.shape) != 2 or 0 in info.shape:
        raise Misfit(f"{suffix} is {info.dtype_name} {list(info.shape)}, expected two dimensions")
    return info.shape


def ignored_but_stored(stem: str, pattern: str, key: str) -> Misfit:
    """The Misfit of a quantized matrix that the settings say is none."""
    return Misfit(f"is stored quantized, but {key} names it ({pattern!r})")


@cache
def _row(codes: Codes, columns: int, int8_activations: bool) -> QuantizedWeight:
    bits, groups = max(codes.bits, 4), columns // codes.group_size
    return QuantizedWeight(
        codes=torch.zeros(1, columns, dtype=torch.uint8), bits=bits, zero=0 if codes.has_offsets else 1 << bits - 1,
        group_size=codes.group_size, scales=torch.zeros(1, groups, dtype=codes.scales),
        offsets=torch.zeros(1, groups) if codes.has_offsets else None, int8_activations=int8_activations)
