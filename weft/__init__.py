"""weft runs language models: any checkpoint in, tokens out, under vLLM's public names.

The public names are below; each is imported when it is first used, so that `import weft` is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from weft.version import __version__

if TYPE_CHECKING:
    from weft.async_llm import AsyncLLM, AsyncLLMEngine
    from weft.config.engine_args import EngineArgs
    from weft.errors import (
        CheckpointError,
        ConfigError,
        EngineDeadError,
        MemoryPlanError,
        NotBuiltError,
        QueueFullError,
        RequestError,
        WeftError,
    )
    from weft.extend.model_api import MODEL_API
    from weft.frontend.llm_engine import LLMEngine
    from weft.frontend.prompts import PromptType, TextPrompt, TokensPrompt
    from weft.llm import LLM
    from weft.models.registry.registry import ModelRegistry
    from weft.outputs import (
        BeamSearchOutput,
        BeamSearchSequence,
        ClassificationOutput,
        ClassificationRequestOutput,
        CompletionOutput,
        EmbeddingOutput,
        EmbeddingRequestOutput,
        Logprob,
        PoolingOutput,
        PoolingRequestOutput,
        RequestMetrics,
        RequestOutput,
        ScoringOutput,
        ScoringRequestOutput,
    )
    from weft.pooling_params import PoolingParams
    from weft.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams

    AsyncEngineArgs = EngineArgs

_HOMES = {
    "LLM": "weft.llm",
    "AsyncLLM": "weft.async_llm",
    "AsyncLLMEngine": "weft.async_llm",
    "LLMEngine": "weft.frontend.llm_engine",
    "EngineArgs": "weft.config.engine_args",
    "AsyncEngineArgs": "weft.config.engine_args",
    "SamplingParams": "weft.sampling_params",
    "BeamSearchParams": "weft.sampling_params",
    "RequestOutputKind": "weft.sampling_params",
    "PoolingParams": "weft.pooling_params",
    "MODEL_API": "weft.extend.model_api",
    "ModelRegistry": "weft.models.registry.registry",
    "PromptType": "weft.frontend.prompts",
    "TextPrompt": "weft.frontend.prompts",
    "TokensPrompt": "weft.frontend.prompts",
    "RequestOutput": "weft.outputs",
    "CompletionOutput": "weft.outputs",
    "BeamSearchOutput": "weft.outputs",
    "BeamSearchSequence": "weft.outputs",
    "PoolingOutput": "weft.outputs",
    "PoolingRequestOutput": "weft.outputs",
    "ClassificationOutput": "weft.outputs",
    "ClassificationRequestOutput": "weft.outputs",
    "ScoringOutput": "weft.outputs",
    "ScoringRequestOutput": "weft.outputs",
    "EmbeddingOutput": "weft.outputs",
    "EmbeddingRequestOutput": "weft.outputs",
    "Logprob": "weft.outputs",
    "RequestMetrics": "weft.outputs",
    "WeftError": "weft.errors",
    "ConfigError": "weft.errors",
    "NotBuiltError": "weft.errors",
    "CheckpointError": "weft.errors",
    "MemoryPlanError": "weft.errors",
    "RequestError": "weft.errors",
    "QueueFullError": "weft.errors",
    "EngineDeadError": "weft.errors",
}
_REAL_NAMES = {"AsyncEngineArgs": "EngineArgs"}

__all__ = [  # the names of _HOMES, which a test compares; written out for type checkers
    "LLM",
    "MODEL_API",
    "AsyncEngineArgs",
    "AsyncLLM",
    "AsyncLLMEngine",
    "BeamSearchOutput",
    "BeamSearchParams",
    "BeamSearchSequence",
    "CheckpointError",
    "ClassificationOutput",
    "ClassificationRequestOutput",
    "CompletionOutput",
    "ConfigError",
    "EmbeddingOutput",
    "EmbeddingRequestOutput",
    "EngineArgs",
    "EngineDeadError",
    "LLMEngine",
    "Logprob",
    "MemoryPlanError",
    "ModelRegistry",
    "NotBuiltError",
    "PoolingOutput",
    "PoolingParams",
    "PoolingRequestOutput",
    "PromptType",
    "QueueFullError",
    "RequestError",
    "RequestMetrics",
    "RequestOutput",
    "RequestOutputKind",
    "SamplingParams",
    "ScoringOutput",
    "ScoringRequestOutput",
    "TextPrompt",
    "TokensPrompt",
    "WeftError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'weft' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), _REAL_NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
