"""GPTQ (arXiv:2210.17323) in the format of AutoGPTQ and GPTQModel: .qweight, .qzeros, .scales, .g_idx.

qweight: [K * bits / 32, N] int32; a column holds the codes (quantized values) of one output, packed one after another.
qzeros: [G, N * bits / 32] zero points, one too low in the checkpoint format "gptq". scales: [G, N]. g_idx: [K], the
group of each input.
"""

from __future__ import annotations

import re
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
from weft.checkpoint.quantization.module_names import compiled
from weft.checkpoint.tensor_info import TensorInfo
from weft.errors import CheckpointError

_BITS = (2, 3, 4, 8)
_PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")
# Keys about how the quantizer worked, and for other engines.
_HARMLESS = (
    "quant_method", "method", "true_sequential", "damp_percent", "damp_auto_increment", "static_groups", "mse",
    "dataset", "model_name_or_path", "model_file_base_name", "model_seqlen", "quantizer", "meta", "use_exllama",
    "disable_exllama", "exllama_config", "max_input_length", "use_cuda_fp16", "batch_size", "pad_token_id",
    "tokenizer", "backend", "block_name_to_quantize", "module_name_preceding_first_block", "cache_block_outputs",
    "modules_in_block_to_quantize", "act_group_aware", "hyb_act", "rotation", "adapter", "offload_to_disk",
    "cache_examples_on_gpu", "inside_layer_modules",
)


@dataclass(frozen=True, slots=True)
class Override:
    """An entry of `dynamic`. expression: matches the stems of modules. bits None: these modules are not quantized."""

    expression: re.Pattern[str]
    key: str
    bits: int | None
    group_size: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTQ:
    """The settings.

    bits, group_size: group_size inputs share a scale; -1: all. zero_shift: number to add to stored zero points.
    is_symmetric: all zero points are the middle of the codes' range. has_order: inputs of a group need not be adjacent
    (act-order), and g_idx names their groups. has_head: lm_head is quantized too. overrides: other sizes by module.
    """

    bits: int
    group_size: int
    zero_shift: int
    is_symmetric: bool
    has_order: bool
    has_head: bool
    overrides: tuple[Override, ...]

    method = "gptq"
    suffixes = (*_PARTS, ".weight")
    whole = ".weight"
    facts = ()

    def layout(self, stem: str, stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout | None:
        if not stored_as_parts(stored, _PARTS):
            return None
        bits, group_size = self._of(stem)
        words, rows = need_matrix(stored, ".qweight", (torch.int32,))
        if words * 32 % bits or rows * bits % 32:
            raise Misfit(f".qweight is int32 {[words, rows]}: no whole number of {bits}-bit codes")
        columns = words * 32 // bits
        size = columns if group_size == -1 else group_size
        groups = -(-columns // size)
        need(stored, ".qzeros", (torch.int32,), (groups, rows * bits // 32))
        need(stored, ".scales", FLOATS, (groups, rows))
        if self.has_order or ".g_idx" in stored:
            need(stored, ".g_idx", (torch.int32, torch.int64), (columns,))
        codes = Codes(bits, 1 if columns % size else size, stored[".scales"].dtype, not self.is_symmetric)
        return Layout((rows, columns), partial(self._decode, stem=stem, bits=bits, group_size=size),
                      codes=None if self.has_order else codes)

    def _of(self, stem: str) -> tuple[int, int]:
        """(bits, group size) of a quantized module. Misfit if the settings say that it is not quantized."""
        for override in self.overrides:
            if override.expression.match(stem):
                if override.bits is None:
                    raise ignored_but_stored(stem, override.key, "dynamic")
                return override.bits, override.group_size
        if not self.has_head and stem.rpartition(".")[2] == "lm_head":
            raise Misfit("is stored quantized, but lm_head = false")
        return self.bits, self.group_size

    def _decode(self, tensors: Mapping[str, Tensor], *, stem: str, bits: int, group_size: int) -> QuantizedMatrix:
        codes = unpack(tensors[".qweight"].t(), bits)                                           # [N, K]
        zeros = (unpack(tensors[".qzeros"], bits).t() + self.zero_shift) & 2**bits - 1            # [N, G]
        scales = tensors[".scales"].t()                                                         # [N, G]
        try:
            return grouped(codes, bits, group_size, scales, zeros, tensors.get(".g_idx"))
        except ValueError as error:
            raise CheckpointError(f"{stem}.g_idx: {error}.") from error


def read(c: ConfigReader) -> GPTQ:
    """The settings as a GPTQ. ConfigError names the key that cannot be used."""
    c.harmless(*_HARMLESS)
    c.expect("is_marlin_format", False, default=False)
    c.expect("pack_dtype", "int32", default="int32")
    form = c.choice("checkpoint_format", "format", allowed=("gptq", "gptq_v2"), default="gptq")
    bits, group_size = _sizes(c)
    return GPTQ(bits=bits, group_size=group_size, zero_shift=1 if form == "gptq" else 0,
                is_symmetric=c.bool("sym", default=True), has_order=c.bool("desc_act", default=False),
                has_head=c.bool("lm_head", default=False),
                overrides=tuple(_override(c, key, bits, group_size) for key in c.dict("dynamic", default={})))


def _sizes(c: ConfigReader, bits: int | None = None, group_size: int = -1) -> tuple[int, int]:
    bits = c.int("bits") if bits is None else c.int("bits", default=bits)
    if bits not in _BITS:
        raise c.error("bits", bits, f"one of {', '.join(map(str, _BITS))}")
    group_size = c.int("group_size", default=group_size)
    if group_size != -1 and group_size < 1:
        raise c.error("group_size", group_size, "-1 or at least 1")
    return bits, group_size


def _override(c: ConfigReader, key: str, bits: int, group_size: int) -> Override:
    """An entry of `dynamic`: `expression` or `+:expression` sets bits, group_size …; `-:expression`: not quantized.

    Source: GPTQModel.
    """
    dynamic = c.sub("dynamic")
    expression = compiled(dynamic, key, key.removeprefix("-:").removeprefix("+:"))
    values = dynamic.sub(key) if dynamic.has(key) else None
    if key.startswith("-:") or values is None:
        return Override(expression, key, None)
    values.harmless("sym", "desc_act", "damp_percent", "mse", "static_groups")
    return Override(expression, key, *_sizes(values, bits, group_size))
