"""vLLM's private dictionaries of architectures, in the form that plugins edit: writes reach `ModelRegistry`.

Plugins write `_TEXT_GENERATION_MODELS["Mine"] = ("llama", "LlamaForCausalLM")` to say that a model is one of vLLM's own
under another name.
"""

from __future__ import annotations

import logging
from collections import UserDict
from importlib.util import find_spec
from typing import Any, NoReturn

from weft.architectures.registry import families
from weft.errors import ConfigError, NotBuiltError
from weft.models.registry import table
from weft.models.registry.registry import ModelRegistry

logger = logging.getLogger("weft")

_LIBRARY = "weft.models.library"


class ModelDictionary(UserDict[str, Any]):
    """{architecture: (module, class)}. name: vLLM's name of it. models: what it has at first."""

    def __init__(self, name: str, models: table.Models) -> None:
        super().__init__()
        self.name, self.data = name, dict(models)

    def __setitem__(self, architecture: str, value: Any) -> None:
        """Register the model that the value means; one that is registered already stays as it is.

        value: a pair of vLLM's module and class that weft runs too, or all that `register_model` takes.
        ConfigError for a pair that weft has no code for.
        """
        if architecture not in ModelRegistry.models:
            ModelRegistry.register_model(architecture, self._model(architecture, value))
            logger.info("%s[%r] = %r: registered", self.name, architecture, value)
        self.data[architecture] = value

    def __delitem__(self, architecture: str) -> NoReturn:
        raise NotBuiltError(f"{self.name}[{architecture!r}]", "deleted", expected="an architecture that stays",
                            hint="ModelRegistry.register_model gives an architecture another model.")

    def __or__(self, other: Any) -> dict[str, Any]:      # type: ignore[override]
        return self.data | dict(other)

    def _model(self, architecture: str, value: Any) -> Any:
        if not isinstance(value, tuple | list) or len(value) != 2:
            return value
        module, class_name = value
        family = families().get(class_name)
        if family is not None:
            return family.describe
        if module.isidentifier() and find_spec(f"{_LIBRARY}.{module}"):
            return f"{_LIBRARY}.{module}:{class_name}"
        if "." in module:
            return f"{module}:{class_name}"
        raise ConfigError(f"{self.name}[{architecture!r}]", value, expected="a module and class of vLLM that weft runs",
                          hint=f'ModelRegistry.register_model("{architecture}", {class_name}) registers the class '
                               "itself; after that this line is accepted.")


_TEXT_GENERATION_MODELS = ModelDictionary("_TEXT_GENERATION_MODELS", table._TEXT_GENERATION_MODELS)
_EMBEDDING_MODELS = ModelDictionary("_EMBEDDING_MODELS", table._EMBEDDING_MODELS)
_SEQUENCE_CLASSIFICATION_MODELS = ModelDictionary("_SEQUENCE_CLASSIFICATION_MODELS",
                                                  table._SEQUENCE_CLASSIFICATION_MODELS)
_TOKEN_CLASSIFICATION_MODELS = ModelDictionary("_TOKEN_CLASSIFICATION_MODELS", table._TOKEN_CLASSIFICATION_MODELS)
_REWARD_MODELS = ModelDictionary("_REWARD_MODELS", table._REWARD_MODELS)
_LATE_INTERACTION_MODELS = ModelDictionary("_LATE_INTERACTION_MODELS", table._LATE_INTERACTION_MODELS)
_CROSS_ENCODER_MODELS = ModelDictionary("_CROSS_ENCODER_MODELS", table._CROSS_ENCODER_MODELS)
_MULTIMODAL_MODELS = ModelDictionary("_MULTIMODAL_MODELS", table._MULTIMODAL_MODELS)
_SPECULATIVE_DECODING_MODELS = ModelDictionary("_SPECULATIVE_DECODING_MODELS", table._SPECULATIVE_DECODING_MODELS)
_TRANSFORMERS_SUPPORTED_MODELS = ModelDictionary("_TRANSFORMERS_SUPPORTED_MODELS",
                                                 table._TRANSFORMERS_SUPPORTED_MODELS)
_TRANSFORMERS_BACKEND_MODELS = ModelDictionary("_TRANSFORMERS_BACKEND_MODELS", table._TRANSFORMERS_BACKEND_MODELS)
_VLLM_MODELS = ModelDictionary("_VLLM_MODELS", table._VLLM_MODELS)
_MODELS = _VLLM_MODELS      # its name before vLLM 0.6.5
