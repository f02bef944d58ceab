"""`build_model`: from a resolved configuration to an EngineModel. The only place that knows how a model comes to be."""

from __future__ import annotations

import logging

import torch
from torch import nn

from weft.architectures.bidirectional import bidirectional
from weft.architectures.classifiers import classifier_of
from weft.architectures.pooling_keys import read_pooling_keys
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture
from weft.architectures.spec import DecoderSpec, EncoderSpec, ModelSpec
from weft.cache.masks import Bidirectional
from weft.cache.need import TokensNeed
from weft.checkpoint.reader import Checkpoint
from weft.config.engine_config import EngineConfig, ModelConfig
from weft.config.quantization_methods import at_load
from weft.errors import ConfigError, NotBuiltError
from weft.layers.context import CacheFormat, LayerContext
from weft.models.choose import choose_model
from weft.models.describe import describe, purpose_of
from weft.models.described import Described
from weft.models.described_pooling import DescribedPooling
from weft.models.engine_model import EngineModel
from weft.models.found import found_file
from weft.models.interfaces_base import is_pooling_model
from weft.models.label_tokens import label_token_ids, of_label_tokens
from weft.models.pooling import pooler_spec, task_poolers
from weft.models.programmed.pooling import ProgrammedPooling
from weft.models.programmed.programmed import Programmed
from weft.models.purpose import Purpose, read_purpose
from weft.models.registry import ModelRegistry
from weft.models.transformers.build import transformers_model
from weft.models.transformers.find_class import is_known
from weft.ops.nodes import MemoryNodes

logger = logging.getLogger("weft")


def build_model(config: EngineConfig, context: LayerContext, checkpoint: Checkpoint | None) -> EngineModel:
    """The model of a configuration, without memory yet. checkpoint: its weights; None: it is only looked at.

    ConfigError for an architecture or a key that weft cannot run, CheckpointError for files that do not fit.
    """
    model = _built(config, context, checkpoint)
    _check_speculation(config, model)
    return model


def _built(config: EngineConfig, context: LayerContext, checkpoint: Checkpoint | None) -> EngineModel:
    reason = _transformers_reason(config.model)
    if reason is not None:
        logger.info("%s runs through Transformers: %s", config.model.architecture, reason)
        return transformers_model(config, context, checkpoint)
    chosen = choose_model(config.model)
    if not isinstance(chosen, Architecture):
        return _programmed(chosen, config, context, checkpoint)
    try:
        spec, reader = describe(config.model, chosen)
    except NotBuiltError as error:
        if config.model.model_impl != "auto" or not is_known(config.model):
            raise
        logger.info("%s runs through Transformers: %s", config.model.architecture, error)
        return transformers_model(config, context, checkpoint)
    purpose = purpose_of(spec, config.model, chosen)
    if purpose.pools and isinstance(spec, DecoderSpec) and spec.encoder is not None:
        logger.info("%s runs through Transformers: weft pools no states of two stacks", config.model.architecture)
        return transformers_model(config, context, checkpoint)
    if purpose.pools:
        return _pooling(spec, reader, purpose, chosen.name, config, checkpoint, context)
    assert isinstance(spec, DecoderSpec), "read_purpose refuses an encoder that should generate"
    _check_causal(spec, config.model)
    model = Described(spec, reader, checkpoint, config.model.hf_config, context)
    _check_cache_dtype(model, config)
    return model


def _pooling(spec: ModelSpec, reader: ConfigReader, purpose: Purpose, architecture: str, config: EngineConfig,
             checkpoint: Checkpoint | None, context: LayerContext) -> DescribedPooling:
    classifies = purpose.convert == "classify"
    keys = read_pooling_keys(reader, classifies=classifies)
    head = None if not classifies else classifier_of(
        spec, of_tokens=purpose.of_tokens, architecture=architecture, source=config.model.config_source)
    default = spec.default_pooling if isinstance(spec, EncoderSpec) else "last"
    own = spec.poolers if isinstance(spec, EncoderSpec) and not classifies else ()
    if own:
        return DescribedPooling(spec, task_poolers(own, keys, config.model), reader, checkpoint, context)
    lm_head = spec.lm_head if isinstance(spec, EncoderSpec) else ()
    pooler = pooler_spec(keys, config.model, default=default, classifier=head, lm_head=lm_head)
    if keys.labels is not None and keys.labels.tokens:
        ids = label_token_ids(keys.labels.tokens, config.tokenizer.path or config.model.path, config.model.vocab_size)
        assert isinstance(spec, DecoderSpec), "only a decoder has a head for tokens"
        pooler = of_label_tokens(pooler, ids, spec.head, reads_difference=keys.labels.reads_difference)
    if not keys.is_causal and isinstance(spec, DecoderSpec):
        spec = bidirectional(spec)
    return DescribedPooling(spec, (pooler,), reader, checkpoint, context)


def _check_causal(spec: DecoderSpec, model: ModelConfig) -> None:
    """ConfigError for a model that should generate although its tokens see later ones."""
    if any(isinstance(getattr(block.mixer, "mask", None), Bidirectional) for block in spec.blocks):
        raise ConfigError("use_bidirectional_attention", True, expected="false for a model that generates",
                          source=model.config_source, hint='runner="pooling" makes an embedder of it.')


def _transformers_reason(model: ModelConfig) -> str | None:
    """Why a model runs through Transformers; None: weft has code for it, or nobody has.

    ConfigError for model_impl transformers beside code for the model.
    """
    code = model.model_file or model.model_class
    if model.model_impl == "transformers":
        if code is not None:
            raise ConfigError("model_impl", "transformers", expected="auto or native beside model_file or model_class")
        return "option model_impl"
    names = model.hf_config["architectures"]
    is_plain = "text_config" not in model.hf_config       # a body with parts for media is another than the text model's
    if model.model_impl == "native" or code is not None or any(map(ModelRegistry.entry_of, names)):
        return None
    if is_plain and any(map(ModelRegistry.body_of, names)):
        return None
    has_none = is_known(model) and found_file(model) is None
    return "weft has no description of its own (`weft describe` may find one)" if has_none else None


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


def _programmed(cls: type[nn.Module], config: EngineConfig, context: LayerContext,
                checkpoint: Checkpoint | None) -> Programmed:
    name, generates = config.model.hf_config["architectures"][0], not is_pooling_model(cls)
    purpose = read_purpose(config.model, name, generates=generates, has_head=generates)
    if not purpose.pools:
        return Programmed(cls, config, checkpoint, context)
    reader = ConfigReader(config.model.hf_config, source=config.model.config_source, origins=config.model.origins)
    keys = read_pooling_keys(reader, classifies=purpose.convert == "classify")
    return ProgrammedPooling(cls, config, checkpoint, context, keys, purpose)


def layer_context(config: EngineConfig, nodes: MemoryNodes | None = None) -> LayerContext:
    """The LayerContext of a configuration. nodes: memory nodes that weights are divided among."""
    return LayerContext(
        getattr(torch, config.model.dtype), isa=config.cpu_isa, quantization=at_load(config.load.quantization),
        activation_dtype=config.load.activation_dtype,
        cache=CacheFormat(config.cache.dtype, config.cache.block_size), nodes=nodes)
