"""`QuantizationConfig`: what a model's layers are given as `quant_config`, to say that they may be quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.errors import NotBuiltError


class QuantizationConfig:
    """How a model's weights are stored, or will be quantized as they are loaded.

    The engine makes one for a quantized model. A layer that gets it is quantized; a layer that gets None is computed in
    floats, unless the checkpoint has codes (quantized values) for it. name: gptq, awq, int4 ...
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.packed_modules_mapping: dict[str, Sequence[str]] = {}

    def get_name(self) -> str:
        """The method."""
        return self.name

    def __repr__(self) -> str:
        return f"QuantizationConfig({self.name!r})"


def check_quant_config(layer: str, quant_config: Any) -> bool:
    """Whether a layer is to be quantized. NotBuiltError for a method of others, which weft's layers would not call."""
    if quant_config is None:
        return False
    if type(quant_config) is not QuantizationConfig:
        raise NotBuiltError(f"{layer}.quant_config", quant_config,
                            expected="vllm_config.quant_config, or None",
                            hint="weft's layers do not call quantization methods of other packages.")
    return True
