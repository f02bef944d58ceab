"""The token embedding: rows of a table by id, times a factor. `reference.py` is the definition, `cpu.py` weft's kernel.

A kernel's `prepare(table, scale)` returns a function of ids. The table is a tensor [V, E], or the packed weight of a
head that shares it (tied weights, a `Product` of ops/linear).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from weft.ops.embedding import cpu, reference
from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.linear import Product
from weft.ops.linear.cpu import NativeProduct
from weft.ops.linear.reference import TorchProduct
from weft.ops.native import DTYPES, unavailable

__all__ = ["EmbeddingCase", "choose_embedding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingCase:
    """The properties that decide which kernel reads a token table."""

    device: str
    dtype: torch.dtype
    isa: str = "reference"


def _native_refuses(case: EmbeddingCase) -> str | None:
    return unavailable(case.device, case.isa) or (None if case.dtype in DTYPES else f"{case.dtype}")


def choose_embedding(case: EmbeddingCase) -> Choice:
    """The kernel whose `prepare(table, scale)` returns a layer's lookup: ids [T] int64 -> [T, E]."""
    return choose("embedding", (
        Kernel("native", refuses=_native_refuses, prepare=partial(_native, case)),
        Kernel("torch", refuses=never, prepare=partial(reference.ReferenceRows, case.dtype)),
    ), case)


def _native(case: EmbeddingCase, table: Tensor | Product, scale: float = 1.0) -> cpu.NativeRows:
    if isinstance(table, TorchProduct):                       # a TorchProduct keeps its weight unpacked
        table = table.weight
    assert isinstance(table, Tensor | NativeProduct), "a head that shares its table packs it whole"
    return cpu.NativeRows(case.dtype, case.isa, table, scale)
