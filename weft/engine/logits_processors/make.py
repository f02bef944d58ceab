"""Makes an engine's logits processors, or says why they do not go with its model or its other options."""

from __future__ import annotations

from collections.abc import Collection

from weft.config.engine_config import EngineConfig
from weft.engine.logits_processors.batch import BatchProcessors
from weft.engine.logits_processors.find import find_processors
from weft.errors import ConfigError
from weft.models.vllm.vllm_config import vllm_config
from weft.parallel import current_ranks


def batch_processors(config: EngineConfig, tasks: Collection[str]) -> BatchProcessors | None:
    """The logits processors of the option and of entry points; None: there are none, or the model has no logits.

    tasks: what the model is for.
    ConfigError for a model or an option that they do not go with.
    """
    classes = find_processors(config.logits_processors)
    names = [cls.__name__ for cls in classes]
    if classes and "generate" not in tasks:
        if config.logits_processors:
            raise ConfigError("logits_processors", names, expected="none", hint="The model generates no tokens.")
        return None
    if classes and config.speculative is not None:
        raise ConfigError("logits_processors", names, expected="none with speculative_config", hint="A processor's "
                          "state belongs to tokens that are drawn, and drafts may be rejected. Functions of single "
                          "requests (SamplingParams.logits_processors) go with speculation.")
    return BatchProcessors(classes, vllm_config(config, current_ranks())) if classes else None
