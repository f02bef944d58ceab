"""compressed-tensors (llm-compressor): groups of modules that differ in bits, scales and packing.

Packed integers: .weight_packed [N, K * bits / 32] int32 (unsigned, lowest bits first), .weight_scale, .weight_shape,
optionally .weight_zero_point and .weight_g_idx. Plain: .weight int8 or float8, and .weight_scale. NVFP4: .weight_packed
uint8, .weight_scale, .weight_global_scale. Source: the package's compressors and quantization/quant_args.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from weft.architectures.reader import ConfigReader
from weft.checkpoint.quantization import compressed_groups
from weft.checkpoint.quantization.bits import unpack
from weft.checkpoint.quantization.column_groups import grouped
from weft.checkpoint.quantization.compressed_groups import Group
from weft.checkpoint.quantization.float4 import nvfp4_layout
from weft.checkpoint.quantization.float8 import float8_layout
from weft.checkpoint.quantization.layout import (
    FLOATS,
    Codes,
    Layout,
    Misfit,
    ignored_but_stored,
    need,
    need_matrix,
)
from weft.checkpoint.quantization.matrix import QuantizedMatrix
from weft.checkpoint.quantization.module_names import matching
from weft.checkpoint.tensor_info import TensorInfo

logger = logging.getLogger("weft")

_WEIGHTS = (".weight_packed", ".weight")
_ZERO, _ORDER, _SHAPE = ".weight_zero_point", ".weight_g_idx", ".weight_shape"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedTensors:
    """The settings. groups: a module belongs to the first group whose targets name it. ignored: patterns of modules
    without a group.
    """

    groups: tuple[Group, ...]
    ignored: tuple[str, ...]

    method = "compressed-tensors"
    suffixes = (*_WEIGHTS, ".weight_scale", _ZERO, _SHAPE, _ORDER, ".weight_global_scale", ".input_scale",
                ".input_zero_point", ".input_global_scale", ".output_scale", ".output_zero_point")
    whole = ".weight"
    facts = (_SHAPE,)

    def layout(self, stem: str, stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout | None:
        weight = stored.get(".weight")
        if weight is not None and set(stored) == {".weight"} and weight.dtype in FLOATS:
            return None
        if pattern := matching(stem, self.ignored):
            raise ignored_but_stored(stem, pattern, "ignore")
        group = compressed_groups.of(stem, self.groups)
        if group is None:
            raise Misfit("is stored quantized, but no targets of config_groups name it")
        if all(suffix in stored for suffix in _WEIGHTS):
            raise Misfit("is stored twice: .weight beside .weight_packed")
        match group.kind:
            case "nvfp4":
                return nvfp4_layout(stored, ".weight_packed", ".weight_global_scale", is_divisor=True)
            case "float8":
                return float8_layout(stored, ".weight_scale", group.block_of(stored))
            case _:
                return _integers(stored, facts, group)


def _integers(stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor], group: Group) -> Layout:
    is_packed = group.kind == "packed"
    shape = rows, columns = _packed_shape(stored, facts, group.bits) if is_packed else need_matrix(
        stored, ".weight", (torch.int8,))
    size = group.group_size or columns
    groups = -(-columns // size)
    scales = {(rows, groups)} | ({(), (1,), (1, 1), (rows,)} if group.group_size is None else set())
    need(stored, ".weight_scale", FLOATS, *scales)
    if group.is_symmetric:
        if _ZERO in stored:
            raise Misfit(f"{_ZERO} is there, but weights.symmetric = true")
    elif is_packed and stored.get(_ZERO) is not None and stored[_ZERO].dtype == torch.int32:
        need(stored, _ZERO, (torch.int32,), (-(-rows * group.bits // 32), groups))
    else:
        need(stored, _ZERO, (torch.int8,), *scales)
    if _ORDER in stored:
        need(stored, _ORDER, (torch.int32, torch.int64), (columns,))
    elif columns % size:
        raise Misfit(f"{columns} columns, which groups of {size} do not divide")
    in_order = _ORDER not in stored
    codes = Codes(group.bits if is_packed else 8, size, stored[".weight_scale"].dtype, not group.is_symmetric)
    return Layout(shape, partial(_decode, shape=shape, group=group, group_size=size), codes=codes if in_order else None,
                  int8_activations=in_order and group.int8_activations)


def _packed_shape(stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor], bits: int) -> tuple[int, int]:
    rows, words = need_matrix(stored, ".weight_packed", (torch.int32,))
    need(stored, _SHAPE, (torch.int32, torch.int64), (2,))
    shape = tuple(facts[_SHAPE].tolist())
    if shape[0] != rows or shape[1] < 1 or -(-shape[1] * bits // 32) != words:
        raise Misfit(f".weight_packed is int32 {[rows, words]}, which does not hold {bits}-bit codes of the "
                     f"{_SHAPE} {list(shape)}")
    return shape


def _decode(tensors: Mapping[str, Tensor], *, shape: tuple[int, int], group: Group, group_size: int) -> QuantizedMatrix:
    rows, columns = shape
    half = 2 ** (group.bits - 1) if group.kind == "packed" else 128          # the code that stands for 0
    if group.kind == "packed":
        codes = unpack(tensors[".weight_packed"], group.bits)[:, :columns]
    else:
        codes = tensors[".weight"].view(torch.uint8) ^ 128                    # int8 plus 128
    scales = _spread(tensors[".weight_scale"], rows)
    if group.is_symmetric:
        zeros = torch.full_like(scales, half, dtype=torch.uint8)
    elif tensors[_ZERO].dtype == torch.int32:
        zeros = unpack(tensors[_ZERO].t(), group.bits).t()[:rows]             # packed along the rows
    else:
        zeros = _spread((tensors[_ZERO].int() + half).to(torch.uint8), rows)
    bits = group.bits if group.kind == "packed" else 8
    return replace(grouped(codes, bits, group_size, scales, zeros, tensors.get(_ORDER)),
                   int8_activations=group.int8_activations and _ORDER not in tensors)


def _spread(values: Tensor, rows: int) -> Tensor:
    """Scales as [N, G], from one scale for each group, each row, or the whole matrix."""
    return values if values.dim() == 2 and values.shape[0] == rows else values.reshape(-1, 1).expand(rows, 1)


def read(c: ConfigReader) -> CompressedTensors:
    """The settings as a CompressedTensors. ConfigError names the key that cannot be used."""
    groups, ignored = compressed_groups.read(c)
    for group in groups:
        if group.activations is not None and not group.int8_activations:
            logger.info("%s: activations of the group %s (%s) stay floats: weft has 8-bit activations with a dynamic "
                        "scale for each token, times symmetric 8-bit weights with a scale for each row.",
                        c.source, ", ".join(group.targets), group.activations)
    return CompressedTensors(groups=groups, ignored=ignored)
