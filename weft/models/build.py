"""`build_model`: from a resolved configuration to an EngineModel. The one place that knows the ways in."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from weft.architectures.describe import describe
from weft.architectures.registry import architectures_of
from weft.cache.need import TokensNeed
from weft.checkpoint.reader import Checkpoint
from weft.config.engine_config import EngineConfig, ModelConfig
from weft.config.quantization_methods import at_load
from weft.errors import ConfigError
from weft.extend.python_file import load_python_file
from weft.layers.context import CacheFormat, LayerContext
from weft.models.described import Described
from weft.models.engine_model import EngineModel
from weft.models.programmed.find_class import class_in, find_class
from weft.models.programmed.programmed import Programmed
from weft.ops.nodes import MemoryNodes


def build_model(config: EngineConfig, context: LayerContext, checkpoint: Checkpoint | None) -> EngineModel:
    """The model of a configuration, without memory yet. checkpoint: its weights; None: it is only looked at.

    ConfigError for an architecture or a key that weft cannot run, CheckpointError for files that do not fit.
    """
    cls = _programmed_class(config.model)
    if cls is not None:
        return Programmed(cls, config, checkpoint, context)
    spec, reader = describe(config.model)
    model = Described(spec, reader, checkpoint, config.model.hf_config, context)
    _check_cache_dtype(model, config)
    return model


def _check_cache_dtype(model: EngineModel, config: EngineConfig) -> None:
    """ConfigError for a dtype of keys and values where a model has none."""
    has_tokens = any(isinstance(layer.need, TokensNeed) for layer in model.caches)
    if config.cache.dtype != config.model.dtype and not has_tokens:
        raise ConfigError("kv_cache_dtype", config.cache.dtype,
                          expected="auto, because the model keeps no keys and values",
                          hint="States are kept in float32, rows before a convolution in the model's dtype.")


def _programmed_class(model: ModelConfig) -> type[nn.Module] | None:
    """The class of a programmed model; None for a model that is described."""
    if model.model_class is not None:
        return find_class(model.model_class)
    if model.model_file is None:
        return None
    path = Path(model.model_file)
    module = load_python_file(path, field="model_file")
    return None if architectures_of(module) else class_in(module, path)


def layer_context(config: EngineConfig, nodes: MemoryNodes | None = None) -> LayerContext:
    """What a configuration says to the layers. nodes: memory nodes that weights are divided among."""
    return LayerContext(
        getattr(torch, config.model.dtype), isa=config.cpu_isa, quantization=at_load(config.load.quantization),
        cache=CacheFormat(config.cache.dtype, config.cache.block_size), nodes=nodes)
