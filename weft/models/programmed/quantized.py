"""Whether the option that quantizes at load reaches the layers of a programmed model."""

from __future__ import annotations

import logging
import re
from collections import Counter

from torch import nn

from weft.errors import ConfigError
from weft.layers.public.embedding import VocabParallelEmbedding
from weft.layers.public.fused_moe import FusedMoE
from weft.layers.public.linear import PublicLinear

logger = logging.getLogger("weft")


def check_quantized(model_name: str, model: nn.Module, quantization: str | None) -> None:
    """ConfigError when no layer was given `quant_config`: nothing would be quantized. Logs the layers that were not.

    quantization: the option.
    """
    layers = {name: module for name, module in model.named_modules()
              if isinstance(module, PublicLinear | FusedMoE | VocabParallelEmbedding) and module.own_parameters()}
    left = [name for name, module in layers.items() if not module.is_quantized]
    if len(left) == len(layers):
        raise ConfigError("quantization", quantization, expected="None for this model", hint=(
            f"{model_name} gives quant_config to none of its layers, so all weights would stay floats. Give "
            "quant_config=vllm_config.quant_config to those that are to be quantized."))
    if left:
        counts = Counter(re.sub(r"\d+", "*", name) for name in left)
        logger.info("%s: %s quantizes %d layers; these were given no quant_config and stay floats: %s", model_name,
                    quantization, len(layers) - len(left),
                    ", ".join(f"{name} ({count})" if count > 1 else name for name, count in counts.items()))
