"""NVIDIA ModelOpt: FP8 and NVFP4, with settings in `hf_quant_config.json` or under the same keys in config.json.

FP8: .weight float8, .weight_scale. NVFP4: .weight [N, K / 2] uint8, .weight_scale, .weight_scale_2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from weft.architectures.reader import ConfigReader
from weft.checkpoint.quantization.float4 import NV_GROUP, nvfp4_layout
from weft.checkpoint.quantization.float8 import float8_layout
from weft.checkpoint.quantization.layout import FLOAT8, Layout, Misfit, ignored_but_stored
from weft.checkpoint.quantization.module_names import matching, name_list
from weft.checkpoint.tensor_info import TensorInfo

_ALGORITHMS = ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "NVFP4")
_IGNORED = ("exclude_modules", "ignore")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOpt:
    """The settings. algorithm: one of _ALGORITHMS. excluded: patterns of modules that are not quantized."""

    algorithm: str
    excluded: tuple[str, ...]

    method = "modelopt"
    suffixes = (".weight", ".weight_scale", ".weight_scale_2", ".input_scale")
    whole = ".weight"
    facts = ()

    def layout(self, stem: str, stored: Mapping[str, TensorInfo], facts: Mapping[str, Tensor]) -> Layout | None:
        weight = stored.get(".weight")
        if weight is not None and set(stored) == {".weight"} and weight.dtype not in (*FLOAT8, torch.uint8):
            return None
        if pattern := matching(stem, self.excluded):
            raise ignored_but_stored(stem, pattern, " or ".join(_IGNORED))
        if self.algorithm == "NVFP4":
            return nvfp4_layout(stored, ".weight", ".weight_scale_2", is_divisor=False)
        if ".weight_scale_2" in stored:
            raise Misfit(f".weight_scale_2 belongs to NVFP4, but quant_algo is {self.algorithm}")
        return float8_layout(stored, ".weight_scale", None)


def read(c: ConfigReader) -> ModelOpt:
    """The settings as a ModelOpt. ConfigError names the key that cannot be used."""
    c.harmless("quant_method", "producer", "kv_cache_quant_algo", "kv_cache_scheme", "config_groups")
    algorithm = c.choice("quant_algo", allowed=_ALGORITHMS)
    if algorithm == "NVFP4":
        c.expect("group_size", NV_GROUP, default=NV_GROUP)
    else:
        c.harmless("group_size")
    return ModelOpt(algorithm=algorithm, excluded=name_list(c, *_IGNORED))
