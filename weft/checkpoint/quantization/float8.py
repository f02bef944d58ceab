"""8-bit floats with one scale for the matrix, for each row, or for each block (DeepSeek-V3, arXiv:2412.19437).

Method `fp8` of config.json; compressed-tensors and ModelOpt share the layout. .weight: [N, K] float8.
.weight_scale_inv, .weight_scale or .qscale_weight (Mistral's files): scales that multiply the stored values. Scales of
activations are not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from weft.architectures.reader import ConfigReader
from weft.checkpoint.quantization.layout import (
    FLOAT8,
    FLOATS,
    Layout,
    ignored_but_stored,
    need,
    need_matrix,
)
from weft.checkpoint.quantization.matrix import ScaledMatrix, powers_of_two
from weft.checkpoint.quantization.module_names import matching, name_list
from weft.checkpoint.tensor_info import TensorInfo

_SCALES = (".weight_scale_inv", ".weight_scale", ".qscale_weight")
_SCALE_DTYPES = (*FLOATS, torch.float8_e8m0fnu, torch.uint8)
_IGNORED = ("modules_to_not_convert", "ignored_layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Float8:
    """The settings. block: (rows, columns) that share a scale; None: one scale for the matrix or for each row."""

    block: tuple[int, int] | None
    not_converted: tuple[str, ...]

    method = "fp8"
    suffixes = (".weight", *_SCALES, ".input_scale", ".activation_scale", ".qscale_act")
    whole = ".weight"
    facts = ()

    def layout(self, stem: str, stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout | None:
        weight = stored.get(".weight")
        if weight is not None and set(stored) == {".weight"} and weight.dtype not in FLOAT8:
            return None
        suffix = next((s for s in _SCALES if s in stored), _SCALES[0] if self.block else _SCALES[1])
        found = float8_layout(stored, suffix, self.block)
        if pattern := matching(stem, self.not_converted):
            raise ignored_but_stored(stem, pattern, " or ".join(_IGNORED))
        return found


def float8_layout(stored: Mapping[str, TensorInfo], suffix: str, block: tuple[int, int] | None) -> Layout:
    """The layout of a float8 .weight. suffix: its scales. block: as in Float8."""
    rows, columns = shape = need_matrix(stored, ".weight", FLOAT8)
    if block is None:
        scale = need(stored, suffix, _SCALE_DTYPES, (), (1,), (1, 1), (rows,), (rows, 1))
        block = (rows if scale.shape in ((), (1,), (1, 1)) else 1, columns)
    else:
        need(stored, suffix, _SCALE_DTYPES, (-(-rows // block[0]), -(-columns // block[1])))
    return Layout(shape, partial(_decode, suffix=suffix, block=block))


def _decode(tensors: Mapping[str, Tensor], *, suffix: str, block: tuple[int, int]) -> ScaledMatrix:
    codes, scales = tensors[".weight"], tensors[suffix]
    is_exponent = scales.dtype in (torch.uint8, torch.float8_e8m0fnu)
    scales = powers_of_two(scales) if is_exponent else scales.float()
    num_groups = -(-codes.shape[0] // block[0])
    return ScaledMatrix(codes=codes, scales=scales.reshape(num_groups, -1), block=block, shape=tuple(codes.shape))


def read(c: ConfigReader) -> Float8:
    """The settings as a Float8. ConfigError names the key that cannot be used."""
    c.harmless("quant_method", "dequantize", "scale_fmt", "kv_cache_scheme", "kv_cache_quant_method",
               "activation_scale_ub", "is_checkpoint_fp8_serialized")
    c.choice("activation_scheme", allowed=("dynamic", "static"), default=None)
    c.expect("fmt", "e4m3", "float8_e4m3fn", "e5m2", default="e4m3")
    c.expect("expert_dtype", "fp8", default="fp8")
    return Float8(block=_block(c), not_converted=name_list(c, *_IGNORED))


def _block(c: ConfigReader) -> tuple[int, int] | None:
    size = c.list("weight_block_size", default=None)
    if size is None:
        return None
    if len(size) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in size):
        raise c.error("weight_block_size", size, "rows and columns, e.g. [128, 128]")
    return size[0], size[1]
