"""Defaults for a request's unset sampling parameters: the model's generation config, as `SamplingParams` or fields."""

from __future__ import annotations

from typing import Any

from weft.config.engine_config import EngineConfig
from weft.errors import ConfigError, RequestError
from weft.sampling_params import SamplingParams


def default_fields(config: EngineConfig) -> dict[str, Any]:
    """{field of SamplingParams: its default}, without max_new_tokens, which is an upper limit (`inputs.py`)."""
    return {name: value for name, value in config.model.generation_defaults.items() if name != "max_new_tokens"}


def default_sampling_params(config: EngineConfig) -> SamplingParams:
    """vLLM's defaults, overridden by the model's generation config. ConfigError if a value there is out of range."""
    cap = config.model.generation_defaults.get("max_new_tokens")
    try:
        return SamplingParams(**default_fields(config), **({} if cap is None else {"max_tokens": cap}))
    except RequestError as error:
        raise ConfigError(error.field, error.value, expected=error.expected, source="the model's generation config",
                          hint="Start the engine with generation_config='weft', or override it.") from error
