"""Functions that read an option's value in vLLM's spelling: (name, value) -> options of weft."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from weft.errors import ConfigError

Read = Callable[[str, Any], Mapping[str, Any]]
# vLLM's tasks before 0.12 -> (runner, convert)
_TASKS = {
    "auto": ("auto", "auto"), "generate": ("generate", "none"), "embed": ("pooling", "embed"),
    "embedding": ("pooling", "embed"), "classify": ("pooling", "classify"), "score": ("pooling", "classify"),
    "reward": ("pooling", "embed"), "pooling": ("pooling", "auto"), "encode": ("pooling", "auto"),
}
_SPECULATION = {
    "speculative_model": "model",
    "spec_model": "model",
    "spec_method": "method",
    "spec_tokens": "num_speculative_tokens",
    "num_speculative_tokens": "num_speculative_tokens",
    "ngram_prompt_lookup_max": "prompt_lookup_max",
    "ngram_prompt_lookup_min": "prompt_lookup_min",
    "speculative_model_quantization": "quantization",
    "speculative_draft_tensor_parallel_size": "draft_tensor_parallel_size",
    "speculative_max_model_len": "max_model_len",
    "speculative_disable_by_batch_size": "disable_by_batch_size",
}


def renamed(**values: str) -> Read:
    """A reader of an option whose values have other names here: {vLLM's value: weft's value}."""
    def read(name: str, value: Any) -> dict[str, Any]:
        return {name: values.get(value, value) if isinstance(value, str) else value}

    return read


def becomes(option: str) -> Read:
    """A reader of an option that weft has under another name, with the same values."""
    def read(_: str, value: Any) -> dict[str, Any]:
        return {option: value}

    return read


read_memory_share = becomes("gpu_memory_utilization")
read_activation = becomes("use_activation")
read_guided_decoding = becomes("structured_outputs")
read_convert = renamed(reward="embed")
read_tokenizer_mode = renamed(slow="hf")
read_model_impl = renamed(vllm="native")
read_generation_config = renamed(vllm="weft")
read_load_format = renamed(hf="auto", fastsafetensors="auto", runai_streamer="auto", bitsandbytes="auto")


def read_dtype(name: str, value: Any) -> dict[str, Any]:
    """A torch dtype by its name: `torch.float16` is "float16"."""
    text = str(value)
    return {name: text.removeprefix("torch.") if text.startswith("torch.") else value}


def read_hf_token(name: str, value: Any) -> dict[str, Any]:
    """vLLM's True means the token that the hub's command line has stored, which weft uses anyway."""
    return {name: None if isinstance(value, bool) else value}


def read_task(name: str, value: Any) -> dict[str, Any]:
    """A task as the runner that does it, and what the runner makes of states."""
    if not isinstance(value, str) or value not in _TASKS:
        raise ConfigError(name, value, expected=f"one of {', '.join(_TASKS)}", hint="The newer option is `runner`.")
    runner, convert = _TASKS[value]
    return {"runner": runner} | ({} if convert in ("auto", "none") else {"convert": convert})


def read_structures_config(name: str, value: Any) -> dict[str, Any]:
    """A `structured_outputs_config` as its field about reasoning; the others choose among vLLM's backends."""
    try:
        fields = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise ConfigError(name, value, expected="a JSON object") from error
    if not isinstance(fields, Mapping):
        raise ConfigError(name, value, expected="a dictionary of fields")
    return {key: value for key, value in fields.items() if key == "enable_in_reasoning"}


def read_rope(name: str, value: Any) -> dict[str, Any]:
    """A rope option as the key of config.json that it overrides."""
    if isinstance(value, str) and name == "rope_scaling":
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(name, value, expected="a JSON object") from error
    return {"hf_overrides": {name: value}} if value != {} else {}


def read_speculation(name: str, value: Any) -> dict[str, Any]:
    """An option as the field of `speculative_config` that it became."""
    return {"speculative_config": {_SPECULATION[name]: value}}


def read_guided_field(name: str, value: Any) -> dict[str, Any]:
    """`guided_json` and its like in a request's body, as a field of `structured_outputs`."""
    return {"structured_outputs": {name.removeprefix("guided_"): value}}
