"""bitsandbytes: NF4 and FP4 (arXiv:2305.14314), with double quantization or not, and int8 (arXiv:2208.07339).

4 bits: .weight holds the codes (quantized values) of the matrix in row-major order, two in a byte, high nibble first;
.weight.absmax has a scale for each block of codes, itself quantized if there are .weight.nested_*; .weight.quant_map
has the 16 values, and .weight.quant_state.bitsandbytes__TYPE is JSON with the shape. int8: .weight [N, K] int8, and
.SCB [N] float32, the largest absolute value of each row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor

from weft.architectures.reader import ConfigReader
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
from weft.checkpoint.quantization.module_names import matching, name_list
from weft.checkpoint.tensor_info import TensorInfo

_STATES = tuple(f".weight.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4"))
_NESTED = (".weight.nested_absmax", ".weight.nested_quant_map")
_STORAGE = (torch.uint8, torch.int8, torch.float16, torch.bfloat16, torch.float32)      # bnb_4bit_quant_storage
_IGNORED = "llm_int8_skip_modules"
_HARMLESS = ("quant_method", "_load_in_4bit", "_load_in_8bit", "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage",
             "bnb_4bit_use_double_quant", "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight",
             "llm_int8_threshold")
_PIECE_BLOCKS = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsAndBytes:
    """The settings. bits: 4 or 8. not_converted: patterns of modules that are not quantized."""

    bits: int
    not_converted: tuple[str, ...]

    method = "bitsandbytes"
    suffixes = (".weight", ".weight.absmax", ".weight.quant_map", *_NESTED, *_STATES, ".SCB", ".weight_format")
    whole = ".weight"
    facts = (*_STATES, ".weight_format")

    def layout(self, stem: str, stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout | None:
        weight = stored.get(".weight")
        if weight is not None and set(stored) == {".weight"} and weight.dtype in FLOATS:
            return None
        if pattern := matching(stem, self.not_converted):
            raise ignored_but_stored(stem, pattern, _IGNORED)
        return _four_bits(stored, facts) if self.bits == 4 else _eight_bits(stored, facts)


def _eight_bits(stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout:
    shape = need_matrix(stored, ".weight", (torch.int8,))
    need(stored, ".SCB", (torch.float32,), (shape[0],))
    order = facts.get(".weight_format")
    if order is not None and order.flatten().tolist() != [0]:
        raise Misfit(f".weight_format is {order.flatten().tolist()}, expected [0]: rows as they are")
    return Layout(shape, _decode_eight_bits, codes=Codes(8, shape[1], torch.float32))


def _decode_eight_bits(tensors: Mapping[str, Tensor]) -> QuantizedMatrix:
    codes = tensors[".weight"].view(torch.uint8) ^ 128          # int8 plus 128
    scales = (tensors[".SCB"] / 127).unsqueeze(1)
    return QuantizedMatrix(codes=codes, bits=8, group_size=codes.shape[1], scales=scales,
                           zeros=torch.full_like(scales, 128, dtype=torch.uint8))


def _four_bits(stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout:
    state = _State.read(facts)
    weight = need(stored, ".weight", _STORAGE)
    num_bytes = (state.num_values + 1) // 2
    if weight.num_bytes != num_bytes:
        raise Misfit(f".weight is {weight.dtype_name} {list(weight.shape)}, expected {num_bytes} bytes for "
                     f"{list(state.shape)}")
    blocks = -(-state.num_values // state.block)
    nested = state.nested_block
    need(stored, ".weight.absmax", (torch.float32,) if nested is None else (torch.uint8,), (blocks,))
    need(stored, ".weight.quant_map", (torch.float32,), (16,))
    if nested is not None:
        need(stored, _NESTED[0], (torch.float32,), (-(-blocks // nested),))
        need(stored, _NESTED[1], (torch.float32,), (256,))
    return Layout(state.shape, partial(_decode_four_bits, state=state))


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """The content of quant_state.

    block: number of codes that share a scale. nested_block: number of scales that share a scale; None: scales are not
    quantized.
    """

    shape: tuple[int, int]
    block: int
    nested_block: int | None
    nested_offset: float

    @property
    def num_values(self) -> int:
        return math.prod(self.shape)

    @classmethod
    def read(cls, facts: Mapping[str, Tensor]) -> _State:
        name = next((suffix for suffix in _STATES if suffix in facts), None)
        if name is None:
            raise Misfit(f"{' or '.join(_STATES)} is missing")
        try:
            values = json.loads(bytes(facts[name].flatten().tolist()))
        except (ValueError, TypeError) as error:
            raise Misfit(f"{name} is no JSON") from error
        if not isinstance(values, dict):
            raise Misfit(f"{name} is no JSON object")
        shape = values.get("shape")
        if not isinstance(shape, list) or len(shape) != 2 or not all(map(_is_count, shape)):
            raise Misfit(f"{name}: shape = {str(shape)[:60]}, expected two sizes")
        block, nested = values.get("blocksize"), values.get("nested_blocksize")
        offset = values.get("nested_offset", 0.0)
        if not _is_count(block) or not (nested is None or _is_count(nested)) or not isinstance(offset, int | float):
            raise Misfit(f"{name}: blocksize = {block!r}, nested_blocksize = {nested!r}, nested_offset = {offset!r}")
        return cls(shape=(shape[0], shape[1]), block=block, nested_block=nested, nested_offset=float(offset))


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _TableMatrix:
    """A matrix of 4-bit indices into a table, with a scale for each block of the flattened matrix."""

    packed: Tensor      # [ceil(N * K / 2)] uint8, high nibble first
    table: Tensor       # [16] float32
    scales: Tensor      # [ceil(N * K / block)] float32
    block: int
    shape: tuple[int, int]

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """The weight, [N, K]."""
        out = torch.empty(math.prod(self.shape), dtype=dtype)
        step = _PIECE_BLOCKS * self.block
        for start in range(0, len(out), step):
            codes = self.packed[start // 2 : (start + step + 1) // 2]
            values = self.table[torch.stack((codes >> 4, codes & 15), dim=-1).flatten().long()][: len(out) - start]
            scales = self.scales[start // self.block :][:_PIECE_BLOCKS].repeat_interleave(self.block)[: len(values)]
            out[start : start + step] = (values * scales).to(dtype)
        return out.view(self.shape)


def _decode_four_bits(tensors: Mapping[str, Tensor], *, state: _State) -> _TableMatrix:
    scales = tensors[".weight.absmax"]
    if state.nested_block is not None:
        factors = tensors[_NESTED[0]].repeat_interleave(state.nested_block)[: len(scales)]
        scales = tensors[_NESTED[1]][scales.long()] * factors + state.nested_offset
    return _TableMatrix(packed=tensors[".weight"].contiguous().view(torch.uint8).flatten(), scales=scales,
                        table=tensors[".weight.quant_map"], block=state.block, shape=state.shape)


def read(c: ConfigReader) -> BitsAndBytes:
    """The settings as a BitsAndBytes. ConfigError names the key that cannot be used."""
    c.harmless(*_HARMLESS)
    four, eight = c.bool("load_in_4bit", default=False), c.bool("load_in_8bit", default=False)
    if four == eight:
        raise c.error("load_in_4bit", four, f"true, or load_in_8bit (which is {str(eight).lower()}), one of them")
    c.choice("bnb_4bit_quant_type", allowed=("nf4", "fp4"), default="nf4")      # the values come from quant_map
    return BitsAndBytes(bits=4 if four else 8, not_converted=name_list(c, _IGNORED))
