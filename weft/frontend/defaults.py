"""The `SamplingParams` of a request that brings none."""

from __future__ import annotations

from weft.config.engine_config import EngineConfig
from weft.errors import ConfigError, RequestError
from weft.sampling_params import SamplingParams

_NAMES = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")


def default_sampling_params(config: EngineConfig) -> SamplingParams:
    """vLLM's defaults under the model's generation config. ConfigError when a value there is out of range."""
    defaults = config.model.generation_defaults
    given = {name: defaults[name] for name in _NAMES if defaults.get(name) is not None}
    if defaults.get("max_new_tokens") is not None:
        given["max_tokens"] = defaults["max_new_tokens"]
    try:
        return SamplingParams(**given)
    except RequestError as error:
        raise ConfigError(error.field, error.value, expected=error.expected, source="the model's generation config",
                          hint="Start the engine with generation_config='weft', or override it.") from error
