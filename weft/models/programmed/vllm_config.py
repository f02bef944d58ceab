"""`VllmConfig`: what the constructor of a programmed model is given, with the attributes that such models read.

Facts about the names: vLLM's `VllmConfig` and the model files written for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from weft.config.engine_config import EngineConfig
from weft.layers.public.quant_config import QuantizationConfig
from weft.resolve.hf.classes import config_object


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """hf_config: the checkpoint's config object; hf_text_config: its part about text, or the same object."""

    model: str
    hf_config: Any
    hf_text_config: Any
    dtype: torch.dtype
    max_model_len: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheView:
    """block_size: tokens of a cache block; cache_dtype: how keys and values are stored."""

    block_size: int
    cache_dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelView:
    """One process runs the whole model."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerView:
    """The largest step."""

    max_num_seqs: int
    max_num_batched_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmConfig:
    """The engine's configuration as a model's constructor sees it. What weft has no code for is None."""

    model_config: ModelView
    cache_config: CacheView
    parallel_config: ParallelView
    scheduler_config: SchedulerView
    quant_config: QuantizationConfig | None = None
    lora_config: None = None
    speculative_config: None = None


def vllm_config(config: EngineConfig) -> VllmConfig:
    """The view of a resolved configuration. ConfigError when its config class does not take the values."""
    hf_config = config_object(config.model.hf_config, config.model.config_source)
    text = getattr(hf_config, "text_config", None)
    for part in (hf_config, text):
        if part is not None:
            _spell_rope_both_ways(part)
    return VllmConfig(
        model_config=ModelView(
            model=config.model.path, hf_config=hf_config, hf_text_config=hf_config if text is None else text,
            dtype=getattr(torch, config.model.dtype), max_model_len=config.model.max_model_len, seed=config.model.seed),
        cache_config=CacheView(block_size=config.cache.block_size, cache_dtype=config.cache.dtype),
        parallel_config=ParallelView(), quant_config=_quant_config(config),
        scheduler_config=SchedulerView(max_num_seqs=config.scheduler.max_num_seqs,
                                       max_num_batched_tokens=config.scheduler.max_num_batched_tokens))


def _quant_config(config: EngineConfig) -> QuantizationConfig | None:
    """Of a quantized checkpoint, or of the option that quantizes while loading; None: weights stay floats."""
    stored, option = config.model.quantization, config.load.quantization
    name = option if stored is None else stored.method
    return None if name is None else QuantizationConfig(name)


def _spell_rope_both_ways(config: Any) -> None:
    """`rope_theta` and `rope_scaling` beside `rope_parameters`.

    Transformers 5 keeps rotary positions in `rope_parameters` only; a model file that reads the older names with a
    default would be wrong without a word. Its later versions have `rope_scaling` as another name of the whole
    `rope_parameters`, which must not be assigned.
    """
    found = getattr(config, "rope_parameters", None)
    if not isinstance(found, dict) or any(isinstance(value, dict) for value in found.values()):
        return                                                # none, or one for each type of layer
    if getattr(config, "rope_theta", None) is None and "rope_theta" in found:
        config.rope_theta = found["rope_theta"]
    if not hasattr(type(config), "rope_scaling") and found.get("rope_type", "default") != "default":
        config.rope_scaling = dict(found)
