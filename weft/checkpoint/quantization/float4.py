"""4-bit floats (E2M1) with scales for groups of 16 or 32: NVFP4 matrices, and MXFP4 experts in gpt-oss's format.

NVFP4: [N, K / 2] uint8, low nibble first; a float8 scale for every 16 values and one float32 factor for the matrix.
MXFP4: NAME_blocks [X, N, K / 32, 16] uint8 and NAME_scales [X, N, K / 32] exponents, for the X experts' tensor NAME
[X, K, N] of a float checkpoint. Sources: OCP Microscaling Formats v1.0; the model card of openai/gpt-oss-120b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from weft.architectures.reader import ConfigReader
from weft.checkpoint.quantization.bits import FP4_VALUES
from weft.checkpoint.quantization.layout import Layout, Misfit, ignored_but_stored, need, need_matrix
from weft.checkpoint.quantization.matrix import ScaledMatrix, powers_of_two
from weft.checkpoint.quantization.module_names import matching, name_list
from weft.checkpoint.tensor_info import TensorInfo

NV_GROUP = 16
_MX_GROUP = 32
_IGNORED = "modules_to_not_convert"


def nvfp4_layout(stored: Mapping[str, TensorInfo], packed: str, factor: str, *, is_divisor: bool) -> Layout:
    """The layout of an NVFP4 matrix.

    packed: suffix of the codes. factor: suffix of the matrix's factor, or if is_divisor of its divisor. The scales are
    .weight_scale.
    """
    rows, half = need_matrix(stored, packed, (torch.uint8,))
    if half * 2 % NV_GROUP:
        raise Misfit(f"{packed} has {half * 2} columns, which groups of {NV_GROUP} do not divide")
    need(stored, ".weight_scale", (torch.float8_e4m3fn,), (rows, half * 2 // NV_GROUP))
    need(stored, factor, (torch.float32,), (), (1,))
    return Layout((rows, half * 2), partial(_decode_nvfp4, packed=packed, factor=factor, is_divisor=is_divisor))


def _decode_nvfp4(tensors: Mapping[str, Tensor], *, packed: str, factor: str, is_divisor: bool) -> ScaledMatrix:
    codes, scales, factors = tensors[packed], tensors[".weight_scale"].float(), tensors[factor].reshape(())
    return ScaledMatrix(codes=codes, scales=scales / factors if is_divisor else scales * factors, block=(1, NV_GROUP),
                        shape=(codes.shape[0], codes.shape[1] * 2), table=torch.tensor(FP4_VALUES))


@dataclass(frozen=True, slots=True, eq=False)
class _Transposed:
    """Experts that are stored [X, N, K] and used as [X, K, N]."""

    matrix: ScaledMatrix

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """The weight, [X, K, N]."""
        return self.matrix.dequantize(dtype).transpose(1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class MXFP4:
    """The settings. not_converted: patterns of modules that are not quantized."""

    not_converted: tuple[str, ...]

    method = "mxfp4"
    suffixes = ("_blocks", "_scales")
    whole = ""
    facts = ()

    def layout(self, stem: str, stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout | None:
        blocks = need(stored, "_blocks", (torch.uint8,))
        if len(blocks.shape) != 4 or blocks.shape[-1] * 2 != _MX_GROUP:
            raise Misfit(f"_blocks is {blocks.dtype_name} {list(blocks.shape)}, expected [experts, rows, groups, "
                         f"{_MX_GROUP // 2}]")
        need(stored, "_scales", (torch.uint8, torch.float8_e8m0fnu), blocks.shape[:3])
        if pattern := matching(stem, self.not_converted):
            raise ignored_but_stored(stem, pattern, _IGNORED)
        experts, rows, groups, _ = blocks.shape
        return Layout((experts, groups * _MX_GROUP, rows), _decode_mxfp4)


def _decode_mxfp4(tensors: Mapping[str, Tensor]) -> _Transposed:
    blocks = tensors["_blocks"]
    experts, rows, groups, _ = blocks.shape
    return _Transposed(ScaledMatrix(
        codes=blocks.reshape(experts * rows, -1), scales=powers_of_two(tensors["_scales"]).reshape(experts * rows, -1),
        block=(1, _MX_GROUP), shape=(experts, rows, groups * _MX_GROUP), table=torch.tensor(FP4_VALUES)))


def read_mxfp4(c: ConfigReader) -> MXFP4:
    """The settings as an MXFP4. ConfigError names the key that cannot be used."""
    c.harmless("quant_method", "dequantize")
    return MXFP4(not_converted=name_list(c, _IGNORED))
