"""A model directory's JSON files: read with errors that name file, line and key; overrides merged, with their origins.

Knows the shape of a config.json (architectures, nested text config) and no key of a family.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.errors import ConfigError

CONFIG_NAME = "config.json"
OVERRIDE = "override"

# Keys under which configs of larger models nest the language model's own config.
TEXT_CONFIG_KEYS = ("text_config", "llm_config", "language_config")

# model_type -> the architecture to assume when config.json lists none.
ARCHITECTURE_OF_TYPE = {
    "bloom": "BloomForCausalLM", "cohere": "CohereForCausalLM", "falcon": "FalconForCausalLM",
    "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM",
    "gpt2": "GPT2LMHeadModel", "gpt_neox": "GPTNeoXForCausalLM", "granite": "GraniteForCausalLM",
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM",
    "olmo2": "Olmo2ForCausalLM", "opt": "OPTForCausalLM", "phi3": "Phi3ForCausalLM", "qwen": "QWenLMHeadModel",
    "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM",
    "stablelm": "StableLmForCausalLM",
}


@dataclass(frozen=True, slots=True)
class HFConfig:
    """A normalised config.json. origins: {dotted key: where its value comes from} when that is not the file."""

    values: dict[str, Any]
    source: str
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> Mapping[str, Any]:
        """The language model's own values: a nested text config if there is one, else all."""
        for key in TEXT_CONFIG_KEYS:
            if isinstance(self.values.get(key), dict):
                return self.values[key]
        return self.values

    @property
    def text_path(self) -> str:
        """Where `text` is: "" or e.g. "text_config."."""
        return next((f"{key}." for key in TEXT_CONFIG_KEYS if isinstance(self.values.get(key), dict)), "")

    @property
    def architecture(self) -> str:
        """The first name of `architectures`."""
        return self.values["architectures"][0]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. ConfigError naming the file, and line and column where the text breaks off."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(path.name, None, expected=f"a file at {path}", hint="It is missing.") from None
    except OSError as error:
        raise ConfigError(path.name, str(path), expected="a file that can be read",
                          hint=f"{error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise ConfigError(path.name, _excerpt(error), expected="valid JSON", source=str(path),
                          hint=f"Line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path.name, error.object[error.start:error.start + 8], expected="UTF-8 text", source=str(path),
                          hint=f"Byte {error.start} is not.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(path.name, "…", expected="JSON of sane size", source=str(path), hint=f"{error}.") from error
    if not isinstance(value, dict):
        raise ConfigError(path.name, value, expected="a JSON object ({...})", source=str(path))
    return value


def read_json_if_there(path: Path) -> dict[str, Any]:
    """The object in an optional JSON file; empty when there is none."""
    return read_json(path) if path.exists() else {}


def read_config(directory: Path, overrides: Mapping[str, Any]) -> HFConfig:
    """config.json with the user's overrides on top. ConfigError when it cannot be used."""
    path = directory / CONFIG_NAME
    if not path.exists():
        raise ConfigError("model", str(directory), expected=f"a directory with a {CONFIG_NAME}",
                          hint=_what_is_there(directory))
    return finished(read_json(path), overrides, str(path))


def finished(values: Mapping[str, Any], overrides: Mapping[str, Any], source: str,
             origins: Mapping[str, str] | None = None) -> HFConfig:
    """A config's values with the user's overrides on top, checked. origins: of values that are not `source`'s own."""
    merged, overridden = merge(values, overrides)
    all_origins = {**(origins or {}), **overridden}
    _check_architectures(merged, all_origins, source)
    config = HFConfig(merged, source, all_origins)
    _check_model_types(config)
    return config


def merge(values: Mapping[str, Any], overrides: Mapping[str, Any],
          path: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """`values` with `overrides` on top, dictionaries merged key by key; and {dotted key: "override"}."""
    merged, origins = dict(values), {}
    for key, value in overrides.items():
        if not isinstance(key, str):
            raise ConfigError("hf_overrides", key, expected="string keys")
        origins[path + key] = OVERRIDE
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key], nested = merge(merged[key], value, f"{path}{key}.")
            origins |= nested
        else:
            merged[key] = value
    return merged, origins


def _check_architectures(values: dict[str, Any], origins: dict[str, str], source: str) -> None:
    """Make `architectures` a list of strings, from model_type when the file has none."""
    given = values.get("architectures")
    if not given:
        model_type = values.get("model_type")
        name = ARCHITECTURE_OF_TYPE.get(model_type) if isinstance(model_type, str) else None
        if name is None:
            raise ConfigError("architectures", given, expected='the model\'s class, e.g. ["LlamaForCausalLM"]',
                              source=source, hint=f"The file has none and model_type is {model_type!r}. Pass "
                              'hf_overrides={"architectures": [...]}.')
        values["architectures"], origins["architectures"] = [name], f"model_type {model_type}"
    elif not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ConfigError("architectures", given, expected="a list of strings", source=source)


def _check_model_types(config: HFConfig) -> None:
    for prefix, values in (("", config.values), (config.text_path, config.text)):
        if not isinstance(values.get("model_type"), str | None):
            raise ConfigError(f"{prefix}model_type", values["model_type"], expected="a string", source=config.source)


def _what_is_there(directory: Path) -> str:
    names = sorted(entry.name for entry in directory.iterdir())
    if "params.json" in names:
        return "There is a params.json: weft does not read Mistral's own format yet; take the Hugging Face one."
    if any(name.endswith(".gguf") for name in names):
        return "There are .gguf files beside other weights: pass the path of the one to run."
    nested = [name for name in names if (directory / name / CONFIG_NAME).is_file()]
    if nested:
        return f"There is one in {directory / nested[0]}: did you mean that?"
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"It holds {shown}." if names else "It is empty."


def _excerpt(error: json.JSONDecodeError) -> str:
    return error.doc[max(0, error.pos - 20):error.pos + 20]
