"""`VllmConfig`: what the constructor of a programmed model is given, with the attributes that such models read.

Facts about the names: vLLM's `VllmConfig` and the model files written for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from weft.config.engine_config import EngineConfig
from weft.config.frozen import thaw
from weft.config.quantization_methods import at_load
from weft.layers.public.quant_config import QuantizationConfig
from weft.models.vllm.config_views import (
    CacheConfig,
    CompilationConfig,
    DeviceConfig,
    ModelConfig,
    MultiModalConfig,
    ParallelConfig,
    SchedulerConfig,
)
from weft.parallel import Ranks
from weft.resolve.hf.classes import config_object


@dataclass(kw_only=True)
class VllmConfig:
    """The engine's configuration as a model's constructor sees it. What weft has no code for is None."""

    model_config: ModelConfig
    cache_config: CacheConfig
    parallel_config: ParallelConfig
    scheduler_config: SchedulerConfig
    compilation_config: CompilationConfig = field(default_factory=CompilationConfig)
    device_config: DeviceConfig = field(default_factory=DeviceConfig)
    quant_config: QuantizationConfig | None = None
    lora_config: None = None
    speculative_config: None = None
    kv_transfer_config: None = None
    structured_outputs_config: None = None
    observability_config: None = None
    load_config: None = None
    additional_config: dict[str, Any] = field(default_factory=dict)

    def with_hf_config(self, hf_config: Any, architectures: list[str] | None = None) -> VllmConfig:
        """A copy about another config object, such as the part of a config that describes its language model."""
        spell_rope_both_ways(hf_config)
        if architectures is not None:
            hf_config.architectures = architectures
        text = getattr(hf_config, "text_config", None)
        return replace(self, model_config=replace(self.model_config, hf_config=hf_config,
                                                  hf_text_config=hf_config if text is None else text))


_current: ContextVar[VllmConfig | None] = ContextVar("vllm_config", default=None)


@contextmanager
def set_current_vllm_config(vllm_config: VllmConfig, check_compile: bool = False, prefix: str | None = None
                            ) -> Iterator[None]:
    """Within, `get_current_vllm_config` gives this configuration."""
    token = _current.set(vllm_config)
    try:
        yield
    finally:
        _current.reset(token)


def get_current_vllm_config() -> VllmConfig:
    """The configuration of the model that is being made or run. RuntimeError outside both."""
    found = _current.get()
    if found is None:
        raise RuntimeError("get_current_vllm_config was called while no model is made or run: take vllm_config from "
                           "the constructor's arguments.")
    return found


def get_current_vllm_config_or_none() -> VllmConfig | None:
    """As `get_current_vllm_config`; None outside."""
    return _current.get()


def vllm_config(config: EngineConfig, ranks: Ranks) -> VllmConfig:
    """The view of a resolved configuration. ranks: of the engine that it is of.

    ConfigError when the config's class does not take the values.
    """
    model = config.model
    hf_config = config_object(model.hf_config, model.config_source)
    text = getattr(hf_config, "text_config", None)
    for part in (hf_config, text):
        if part is not None:
            spell_rope_both_ways(part)
    method = None if model.quantization is None else model.quantization.method
    return VllmConfig(
        model_config=ModelConfig(
            model=model.path, hf_config=hf_config, hf_text_config=hf_config if text is None else text,
            dtype=getattr(torch, model.dtype), max_model_len=model.max_model_len, seed=model.seed,
            tokenizer=config.tokenizer.path, quantization=method, enforce_eager=config.enforce_eager,
            trust_remote_code=config.tokenizer.trust_remote_code,
            multimodal_config=MultiModalConfig(limit_per_prompt=thaw(config.media.limits),
                                               mm_processor_kwargs=thaw(config.media.processor_kwargs))),
        cache_config=CacheConfig(
            block_size=config.cache.block_size, cache_dtype=config.cache.dtype,
            enable_prefix_caching=config.cache.enable_prefix_caching,
            gpu_memory_utilization=config.cache.memory_utilization),
        parallel_config=ParallelConfig(
            tensor_parallel_size=ranks.tensor.world_size, pipeline_parallel_size=ranks.pipeline.world_size,
            world_size=ranks.tensor.world_size * ranks.pipeline.world_size, rank=ranks.tensor.rank_in_group),
        scheduler_config=SchedulerConfig(
            max_num_seqs=config.scheduler.max_num_seqs, max_model_len=model.max_model_len,
            max_num_batched_tokens=config.scheduler.max_num_batched_tokens,
            enable_chunked_prefill=config.scheduler.enable_chunked_prefill, policy=config.scheduler.policy),
        quant_config=_quant_config(config))


def _quant_config(config: EngineConfig) -> QuantizationConfig | None:
    """Of a quantized checkpoint, or of the option that quantizes while loading; None: weights stay floats.

    None for a GGUF file too: models written for vLLM rotate q and k of such a file in pairs, as its rows are ordered
    there, and `load_weights` is given them in Hugging Face's order (checkpoint/renamed.py).
    """
    stored = config.model.quantization
    name = at_load(config.load.quantization) if stored is None else stored.method
    return None if name is None else QuantizationConfig(name)


def spell_rope_both_ways(config: Any) -> None:
    """`rope_theta` and `rope_scaling` beside `rope_parameters`, and `rope_parameters` beside the older two.

    Transformers 5 keeps rotary positions in `rope_parameters` only; a model file that reads the older names with a
    default would be wrong without a word. Its later versions have `rope_scaling` as another name of the whole
    `rope_parameters`, which must not be assigned; the word `type` beside `rope_type` is for readers of that one.
    """
    found = getattr(config, "rope_parameters", None)
    if found is None:
        theta = getattr(config, "rope_theta", None)
        if theta is not None:
            scaling = dict(getattr(config, "rope_scaling", None) or {})
            scaling.setdefault("rope_type", scaling.get("type", "default"))
            config.rope_parameters = {**scaling, "rope_theta": theta}
        return
    if not isinstance(found, dict) or any(isinstance(value, dict) for value in found.values()):
        return                                                # none, or one for each type of layer
    if getattr(config, "rope_theta", None) is None and "rope_theta" in found:
        config.rope_theta = found["rope_theta"]
    if found.get("partial_rotary_factor") is not None and getattr(config, "partial_rotary_factor", None) is None:
        config.partial_rotary_factor = found["partial_rotary_factor"]
    if found.get("rope_type", "default") != "default":
        found.setdefault("type", found["rope_type"])
        if not hasattr(type(config), "rope_scaling"):
            config.rope_scaling = dict(found)
