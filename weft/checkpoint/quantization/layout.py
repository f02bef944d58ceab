"""`Format`: the interface of a quantization method; `Layout`: how one matrix of a checkpoint is stored.

A quantized matrix is a group of tensors with the same stem, e.g. `model.layers.0.mlp.up_proj` with the suffixes
.qweight, .qzeros and .scales. "Codes" are the quantized values, as integers.
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
    """The tensors of a stem do not fit the format. `view.py` collects all misfits into one CheckpointError."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The format of a QuantizedMatrix, as known from settings and headers.

    group_size: columns that share a scale. scales: their dtype. has_offsets: zero points differ between groups.
    """

    bits: int
    group_size: int
    scales: torch.dtype
    has_offsets: bool = False

    def row(self, columns: int, *, int8_activations: bool = False) -> QuantizedWeight:
        """A row of `columns` zeros in the form that `QuantizedMatrix.packable` returns, for its sizes."""
        return _row(self, columns, int8_activations)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a group of tensors stores one weight.

    shape: the weight's shape. decode: makes the matrix from {suffix: tensor}. codes: the format if the matrix is a
    QuantizedMatrix whose columns are, by the settings, in their natural order; else None. int8_activations: as in
    QuantizedWeight.
    """

    shape: tuple[int, ...]
    decode: Callable[[Mapping[str, Tensor]], Matrix]
    codes: Codes | None = None
    int8_activations: bool = False

    @property
    def has_codes(self) -> bool:
        """Whether kernels can multiply with the matrix's codes directly."""
        return self.codes is not None


class Format(Protocol):
    """The quantization of one checkpoint: its checked settings, and the layout of its tensors.

    method: its name. suffixes: all suffixes of the tensors that make up a matrix. whole: the suffix that makes a stem
    the weight's name (".weight"). facts: suffixes of small tensors whose content decides the layout.
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
        """The layout of a stem's tensors; None: they are not quantized and read unchanged. Misfit when neither fits.

        stored: {suffix: tensor}. facts: {suffix: content} of the small tensors named by `facts`.
        """
        ...


def need(stored: Mapping[str, TensorInfo], suffix: str, dtypes: Collection[torch.dtype],
         *shapes: tuple[int, ...]) -> TensorInfo:
    """The tensor with a suffix. Misfit if it is missing, or has none of the dtypes or (if given) of the shapes."""
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
    """Whether a stem is stored as these parts. Misfit when it is also stored as a plain .weight."""
    if not any(suffix in stored for suffix in parts):
        return False
    if ".weight" in stored:
        raise Misfit(f"is stored twice: .weight beside {', '.join(s for s in stored if s != '.weight')}")
    return True


def need_matrix(stored: Mapping[str, TensorInfo], suffix: str, dtypes: Collection[torch.dtype]) -> tuple[int, int]:
    """(rows, columns) of the tensor with a suffix. Misfit unless it has two dimensions, none of size 0."""
    info = need(stored, suffix, dtypes)
    if len(info.shape) != 2 or 0 in info.shape:
        raise Misfit(f"{suffix} is {info.dtype_name} {list(info.shape)}, expected two dimensions")
    return info.shape


def ignored_but_stored(stem: str, pattern: str, key: str) -> Misfit:
    """The Misfit for a quantized matrix that the settings exclude from quantization."""
    return Misfit(f"is stored quantized, but {key} names it ({pattern!r})")


@cache
def _row(codes: Codes, columns: int, int8_activations: bool) -> QuantizedWeight:
    bits, groups = max(codes.bits, 4), columns // codes.group_size
    return QuantizedWeight(
        codes=torch.zeros(1, columns, dtype=torch.uint8), bits=bits, zero=0 if codes.has_offsets else 1 << bits - 1,
        group_size=codes.group_size, scales=torch.zeros(1, groups, dtype=codes.scales),
        offsets=torch.zeros(1, groups) if codes.has_offsets else None, int8_activations=int8_activations)
