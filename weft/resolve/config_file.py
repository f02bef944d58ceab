"""A model directory's JSON files, read with errors that name file, line and key; `normalise` runs the stages.

Knows the shape of a config.json (architectures, nested text config, quantization) and no key of a family.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.errors import ConfigError, NotBuiltError
from weft.resolve import stages
from weft.resolve.config_classes import recipe_of
from weft.resolve.fixups import fix_model_config
from weft.resolve.origin import OVERRIDE
from weft.resolve.reader import ConfigReader
from weft.resolve.stages import TEXT_CONFIG_KEYS, Values

CONFIG_NAME = "config.json"

@dataclass(frozen=True, slots=True)
class HFConfig:
    """A normalised config. origins: {dotted key: where its value comes from} when that is not the file's own key."""

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

    def text_reader(self) -> ConfigReader:
        """A reader of `text`."""
        reader = ConfigReader(self.values, source=self.source, origins=self.origins)
        return reader.sub(self.text_path.removesuffix(".")) if self.text_path else reader

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
    """config.json with the user's overrides on top. ConfigError, or NotBuiltError for a quantized model."""
    path = directory / CONFIG_NAME
    if not path.exists():
        raise ConfigError("model", str(directory), expected=f"a directory with a {CONFIG_NAME}",
                          hint=_what_is_there(directory))
    return normalise(read_json(path), overrides, str(path))


def normalise(values: Mapping[str, Any], overrides: Mapping[str, Any], source: str,
              origins: Mapping[str, str] | None = None) -> HFConfig:
    """A config's values with the user's overrides on top, through all stages (docs/configuration.md).

    origins: of values that are not `source`'s own. ConfigError naming key and file, NotBuiltError for a quantized
    model.
    """
    model_type = stages.find_model_type(values, overrides, source)
    recipe = recipe_of(model_type)
    own = stages.rename_keys(Values(dict(values), dict(origins or {})), recipe, source)
    own = stages.move_ropes(own, source, is_whole=True)
    on_top = stages.rename_keys(Values(dict(overrides)), recipe, OVERRIDE)
    on_top = stages.move_ropes(on_top, OVERRIDE, is_whole=False)
    found = stages.merge_overrides(own, on_top)
    if model_type is not None and found.values.get("model_type") is None:
        found = Values({"model_type": model_type} | found.values, found.origins)
    found = stages.fill_in(found, recipe)
    found = stages.name_architectures(found, source)
    _check_model_types(HFConfig(found.values, source))
    stages.check_ropes(found.values, found.origins, source)
    fixed, all_origins = fix_model_config(found.values, found.origins, source)
    config = HFConfig(fixed, source, all_origins)
    _refuse_quantization(config)
    return config


def _check_model_types(config: HFConfig) -> None:
    for prefix, values in (("", config.values), (config.text_path, config.text)):
        if not isinstance(values.get("model_type"), str | None):
            raise ConfigError(f"{prefix}model_type", values["model_type"], expected="a string", source=config.source)


def _refuse_quantization(config: HFConfig) -> None:
    for prefix, values in (("", config.values), (config.text_path, config.text)):
        for key in ("quantization_config", "compression_config"):
            found = values.get(key)
            if found:
                method = found.get("quant_method") if isinstance(found, dict) else found
                raise NotBuiltError(f"{prefix}{key}.quant_method", method, expected="no quantization",
                                    source=config.source, hint="weft cannot read quantized weights yet: take "
                                    "the unquantized checkpoint.")


def _what_is_there(directory: Path) -> str:
    names = sorted(entry.name for entry in directory.iterdir())
    if "params.json" in names:
        return "There is a params.json: weft does not read Mistral's own format yet; take the Hugging Face one."
    if any(name.endswith(".gguf") for name in names):
        return "There is a .gguf file: weft does not read GGUF yet."
    nested = [name for name in names if (directory / name / CONFIG_NAME).is_file()]
    if nested:
        return f"There is one in {directory / nested[0]}: did you mean that?"
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"It holds {shown}." if names else "It is empty."


def _excerpt(error: json.JSONDecodeError) -> str:
    return error.doc[max(0, error.pos - 20):error.pos + 20]
