"""Which code runs an architecture: the table of all names that are known, and the registry that users add to.

Names and form are vLLM's. `ModelRegistry` is the one registry of a process; nothing here imports torch by itself.
"""

from __future__ import annotations

from weft.models.registry.dictionaries import (
    _CROSS_ENCODER_MODELS,
    _EMBEDDING_MODELS,
    _LATE_INTERACTION_MODELS,
    _MODELS,
    _MULTIMODAL_MODELS,
    _REWARD_MODELS,
    _SEQUENCE_CLASSIFICATION_MODELS,
    _SPECULATIVE_DECODING_MODELS,
    _TEXT_GENERATION_MODELS,
    _TOKEN_CLASSIFICATION_MODELS,
    _TRANSFORMERS_BACKEND_MODELS,
    _TRANSFORMERS_SUPPORTED_MODELS,
    _VLLM_MODELS,
)
from weft.models.registry.entries import _LazyRegisteredModel, _RegisteredModel
from weft.models.registry.model_info import ModelInfo
from weft.models.registry.registry import ModelRegistry, _ModelRegistry
from weft.models.registry.table import _OOT_SUPPORTED_MODELS, _PREVIOUSLY_SUPPORTED_MODELS

_ModelInfo = ModelInfo      # vLLM's name of it

__all__ = [
    "_CROSS_ENCODER_MODELS",
    "_EMBEDDING_MODELS",
    "_LATE_INTERACTION_MODELS",
    "_MODELS",
    "_MULTIMODAL_MODELS",
    "_OOT_SUPPORTED_MODELS",
    "_PREVIOUSLY_SUPPORTED_MODELS",
    "_REWARD_MODELS",
    "_SEQUENCE_CLASSIFICATION_MODELS",
    "_SPECULATIVE_DECODING_MODELS",
    "_TEXT_GENERATION_MODELS",
    "_TOKEN_CLASSIFICATION_MODELS",
    "_TRANSFORMERS_BACKEND_MODELS",
    "_TRANSFORMERS_SUPPORTED_MODELS",
    "_VLLM_MODELS",
    "ModelInfo",
    "ModelRegistry",
    "_LazyRegisteredModel",
    "_ModelInfo",
    "_ModelRegistry",
    "_RegisteredModel",
]
