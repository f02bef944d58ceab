"""AWQ (arXiv:2306.00978) in AutoAWQ's "gemm" format: .qweight, .qzeros and .scales of the transposed matrix.

qweight: [K, N / 8] int32; qzeros: [G, N / 8] int32; scales: [G, N] floats, for G groups of the K inputs. A word holds
the 4-bit codes (quantized values) of eight outputs, not in their natural order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from weft.architectures.reader import ConfigReader
from weft.checkpoint.quantization.bits import unpack
from weft.checkpoint.quantization.column_groups import grouped
from weft.checkpoint.quantization.layout import (
    FLOATS,
    Codes,
    Layout,
    Misfit,
    ignored_but_stored,
    need,
    need_matrix,
    stored_as_parts,
)
from weft.checkpoint.quantization.matrix import QuantizedMatrix
from weft.checkpoint.quantization.module_names import matching, name_list
from weft.checkpoint.tensor_info import TensorInfo

_PARTS = (".qweight", ".qzeros", ".scales")
_NIBBLE_OF_OUTPUT = [0, 4, 1, 5, 2, 6, 3, 7]        # the nibbles of a word hold outputs 0, 2, 4, 6, 1, 3, 5, 7
_HARMLESS = ("quant_method", "method", "backend", "do_fuse", "modules_to_fuse", "fuse_max_seq_len", "exllama_config",
             "meta", "quantizer", "bits_per_layer")
_IGNORED = "modules_to_not_convert"


@dataclass(frozen=True, slots=True, kw_only=True)
class AWQ:
    """The settings. group_size: number of inputs that share a scale; -1: all. not_converted: patterns of modules that
    are not quantized.
    """

    group_size: int
    not_converted: tuple[str, ...]

    method = "awq"
    suffixes = (*_PARTS, ".weight")
    whole = ".weight"
    facts = ()

    def layout(self, stem: str, stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout | None:
        if not stored_as_parts(stored, _PARTS):
            return None
        if pattern := matching(stem, self.not_converted):
            raise ignored_but_stored(stem, pattern, _IGNORED)
        columns, words = need_matrix(stored, ".qweight", (torch.int32,))
        size = columns if self.group_size == -1 else self.group_size
        if columns % size:
            raise Misfit(f".qweight has {columns} inputs, which groups of {size} do not divide")
        need(stored, ".qzeros", (torch.int32,), (columns // size, words))
        need(stored, ".scales", FLOATS, (columns // size, words * 8))
        return Layout((words * 8, columns), partial(_decode, group_size=size),
                      codes=Codes(4, size, stored[".scales"].dtype, has_offsets=True))


def _decode(tensors: Mapping[str, Tensor], *, group_size: int) -> QuantizedMatrix:
    codes, zeros = (_outputs(tensors[suffix]) for suffix in (".qweight", ".qzeros"))
    return grouped(codes, 4, group_size, tensors[".scales"].t(), zeros)


def _outputs(words: Tensor) -> Tensor:
    """Unpack and transpose: [R, N / 8] int32 -> [N, R] uint8."""
    return unpack(words, 4).unflatten(1, (-1, 8))[:, :, _NIBBLE_OF_OUTPUT].flatten(1).t().contiguous()


def read(c: ConfigReader) -> AWQ:
    """The settings as an AWQ. ConfigError names the key that cannot be used."""
    c.harmless(*_HARMLESS)
    bits = c.int("bits", "w_bit")
    if bits != 4:
        raise c.error("bits", bits, "4")
    if not c.bool("zero_point", default=True):
        raise c.error("zero_point", False, "true")
    version = c.str("version", "format", default="gemm")
    if version.lower() != "gemm":
        raise c.error("version", version, "gemm", "weft reads no other layout: take a checkpoint of that one.")
    group_size = c.int("group_size", "q_group_size", default=-1)
    if group_size != -1 and group_size < 1:
        raise c.error("group_size", group_size, "-1 or at least 1")
    return AWQ(group_size=group_size, not_converted=name_list(c, _IGNORED))
