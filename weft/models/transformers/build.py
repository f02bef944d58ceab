"""`transformers_model`: from a configuration to a TransformersModel, or the reason why there can be none."""

from __future__ import annotations

from inspect import signature
from typing import Any

from weft.checkpoint.reader import Checkpoint
from weft.config.engine_config import EngineConfig, ModelConfig
from weft.config.frozen import thaw
from weft.errors import NotBuiltError
from weft.layers.context import LayerContext
from weft.models.transformers.attention import register
from weft.models.transformers.find_class import find_class
from weft.models.transformers.model import TransformersModel
from weft.resolve.hf.classes import build_config, class_of


def transformers_model(config: EngineConfig, context: LayerContext, checkpoint: Checkpoint | None) -> TransformersModel:
    """The model, without memory yet. ConfigError, NotBuiltError as `find_class`, and for what the backend lacks."""
    model = config.model
    if checkpoint is not None and (checkpoint.is_gguf or checkpoint.is_mistral):
        raise NotBuiltError("model", model.path, expected="files in Transformers' layout for model_impl transformers")
    if model.quantization is not None:
        raise NotBuiltError("quantization_config", model.quantization.method, source=model.config_source,
                            expected="none for a model that runs through Transformers",
                            hint="Use float weights; quantization=\"int8\" or \"int4\" quantizes at load.")
    cls, hf_config = find_class(model), _config_object(model)
    _check_encoder(cls, model)
    register()
    return TransformersModel(cls, hf_config, config, checkpoint, context)


def _check_encoder(cls: Any, model: ModelConfig) -> None:
    """NotBuiltError for a model with an encoder beside a decoder that does not take tokens."""
    if "decoder_input_ids" not in signature(cls.forward).parameters:
        return
    if cls.main_input_name != "input_ids":
        raise NotBuiltError("architectures", [cls.__name__], expected="an encoder of token ids",
                            source=model.config_source, hint=f"This one takes {cls.main_input_name}.")


def _config_object(model: ModelConfig) -> Any:
    """The config as the class wants it. ConfigError when its class is not trusted or refuses the values."""
    values = _with_floats(thaw(model.hf_config))
    cls = class_of(values, model.path, trust_remote_code=model.trust_remote_code, code_revision=model.code_revision)
    return build_config(values, cls, model.config_source)


def _with_floats(value: Any) -> Any:
    """Numbers that JSON has no words for, which Transformers writes as {"__float__": "Infinity"}, as numbers."""
    if isinstance(value, dict):
        if value.keys() == {"__float__"}:
            return float(value["__float__"])
        return {key: _with_floats(each) for key, each in value.items()}
    return [_with_floats(each) for each in value] if isinstance(value, list) else value
