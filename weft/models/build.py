"""`build_model`: from a resolved configuration to an EngineModel. The only place that knows how a model comes to be."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from weft.architectures.registry import architectures_of
from weft.architectures.spec import EncoderSpec, PoolerSpec
from weft.cache.need import TokensNeed
from weft.checkpoint.reader import Checkpoint
from weft.config.engine_config import EngineConfig, ModelConfig
from weft.config.quantization_methods import at_load
from weft.errors import ConfigError, NotBuiltError
from weft.extend.python_file import load_python_file
from weft.layers.context import CacheFormat, LayerContext
from weft.models.describe import describe
from weft.models.described import Described
from weft.models.described_encoder import DescribedEncoder
from weft.models.engine_model import EngineModel
from weft.models.programmed.find_class import class_in, find_class
from weft.models.programmed.programmed import Programmed
from weft.ops.nodes import MemoryNodes
from weft.resolve.hf.pooling import read_pooling


def build_model(config: EngineConfig, context: LayerContext, checkpoint: Checkpoint | None) -> EngineModel:
    """The model of a configuration, without memory yet. checkpoint: its weights; None: it is only looked at.

    ConfigError for an architecture or a key that weft cannot run, CheckpointError for files that do not fit.
    """
    model = _built(config, context, checkpoint)
    _check_runner(config.model.runner, model)
    _check_speculation(config, model)
    return model


def _built(config: EngineConfig, context: LayerContext, checkpoint: Checkpoint | None) -> EngineModel:
    file = config.model.model_file
    code = None if file is None else load_python_file(Path(file), field="model_file")
    cls = _programmed_class(config.model, code)
    if cls is not None:
        return Programmed(cls, config, checkpoint, context)
    spec, reader = describe(config.model, code)
    if isinstance(spec, EncoderSpec):
        return DescribedEncoder(spec, _pooler(spec, config.model.path), reader, checkpoint, context)
    model = Described(spec, reader, checkpoint, config.model.hf_config, context)
    _check_cache_dtype(model, config)
    return model


def _check_runner(runner: str, model: EngineModel) -> None:
    """ConfigError where the option asks for another kind of model than this one."""
    fitting = "generate" if "generate" in model.tasks else "pooling"
    if runner in ("auto", fitting):
        return
    tasks = f"The model's tasks are {', '.join(sorted(model.tasks))}."
    if runner == "pooling":
        raise NotBuiltError("runner", runner, expected=f"auto or {fitting}",
                            hint=f"{tasks} weft does not make a pooling model of one that generates (convert) yet.")
    raise ConfigError("runner", runner, expected=f"auto or {fitting}", hint=tasks)


def _check_speculation(config: EngineConfig, model: EngineModel) -> None:
    """ConfigError for drafts where no tokens are generated."""
    if config.speculative is not None and "generate" not in model.tasks:
        raise ConfigError("speculative_config", {"method": config.speculative.method}, expected="None",
                          hint=f"{config.model.architecture} generates no tokens, so there is nothing to draft.")


def _check_cache_dtype(model: EngineModel, config: EngineConfig) -> None:
    """ConfigError for a dtype of keys and values where a model has none."""
    has_tokens = any(isinstance(layer.need, TokensNeed) for layer in model.caches)
    if config.cache.dtype != config.model.dtype and not has_tokens:
        raise ConfigError("kv_cache_dtype", config.cache.dtype,
                          expected="auto, because the model keeps no keys and values",
                          hint="States are kept in float32, rows before a convolution in the model's dtype.")


def _programmed_class(model: ModelConfig, code: ModuleType | None) -> type[nn.Module] | None:
    """The class of a programmed model; None for a model that is described. code: the model file, if there is one."""
    if model.model_class is not None:
        return find_class(model.model_class)
    if code is None or architectures_of(code):
        return None
    return class_in(code)


def _pooler(spec: EncoderSpec, path: str) -> PoolerSpec:
    """The pooling of an encoder: as its files say, else its family's, scaled to length 1."""
    return read_pooling(Path(path)) or PoolerSpec(kind=spec.default_pooling)


def layer_context(config: EngineConfig, nodes: MemoryNodes | None = None) -> LayerContext:
    """The LayerContext of a configuration. nodes: memory nodes that weights are divided among."""
    return LayerContext(
        getattr(torch, config.model.dtype), isa=config.cpu_isa, quantization=at_load(config.load.quantization),
        cache=CacheFormat(config.cache.dtype, config.cache.block_size), nodes=nodes)
