"""The config parser for Mistral's own format: a params.json, completed by a config.json beside it if there is one.

`mistral/params.py` maps the keys; this module reads the files and joins them: params.json first, then keys that it
lacks from config.json, then the format's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.architectures.origin import is_of_class, moved
from weft.architectures.rope_parameters import NAME as ROPE
from weft.errors import ConfigError
from weft.resolve.config_file import normalise
from weft.resolve.config_parser import ConfigParserBase
from weft.resolve.files import find_config_files
from weft.resolve.formats import CONFIG_NAME, MISTRAL_CONFIG_NAME, MISTRAL_WEIGHTS
from weft.resolve.json_file import read_json, read_json_if_there
from weft.resolve.mistral.params import FORMAT_DEFAULT, LARGE, MAMBA, adapt
from weft.resolve.safetensors_header import majority_dtype
from weft.resolve.stages import TEXT_CONFIG_KEYS, Values, move_ropes

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Required keys: {key of a config.json: the name in params.json}. Either file may hold them.
_NEEDED = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
           "vocab_size": "vocab_size"}
# Keys of the config.json that are not taken over, because they belong to its own layout of the model.
_NOT_FILLED = frozenset({*TEXT_CONFIG_KEYS, "llm_config", "vision_config", "audio_config", "auto_map", "rope_scaling",
                         ROPE})


class MistralConfigParser(ConfigParserBase):
    """Reads a params.json."""

    # Narrower than the base class on purpose: a keyword that nobody knows is an error.
    def parse(  # pyright: ignore[reportIncompatibleMethodOverride]
              self, model: str | Path, trust_remote_code: bool, revision: str | None = None,
              code_revision: str | None = None, *, hf_overrides: Mapping[str, Any] | None = None,
              token: str | None = None) -> tuple[dict[str, Any], PretrainedConfig]:
        """(params.json unchanged, a plain config object of its normalised values).

        hf_overrides: values put over the file's. ConfigError names key and file.
        """
        from weft.resolve.hf.classes import plain_config

        folder = find_config_files(model, revision=revision, token=token, has_code=trust_remote_code).directory
        params, given, source = _read(folder)
        config = normalise(given.values, hf_overrides or {}, source, given.origins)
        return params, plain_config(config.values, source)


def read_params(folder: Path) -> tuple[Values, str]:
    """(the config from a folder's params.json, the file's path). ConfigError names the key as the file spells it."""
    _, given, source = _read(folder)
    return given, source


def adapt_config_dict(config_dict: dict[str, Any], defaults: Mapping[str, Any] | None = None, *,
                      source: str = MISTRAL_CONFIG_NAME, defaults_source: str = CONFIG_NAME) -> dict[str, Any]:
    """A params.json under the keys of a config.json. defaults: the config.json beside it, for missing keys."""
    return _whole(config_dict, defaults or {}, source, defaults_source).values


def _read(folder: Path) -> tuple[dict[str, Any], Values, str]:
    path, beside = folder / MISTRAL_CONFIG_NAME, folder / CONFIG_NAME
    if not path.is_file():
        raise ConfigError("model", str(folder), expected=f"a directory with a {MISTRAL_CONFIG_NAME}",
                          hint=f"config_format hf reads a {CONFIG_NAME}.")
    params = read_json(path)
    whole = _whole(params, read_json_if_there(beside), str(path), str(beside))
    dtype = majority_dtype(sorted(folder.glob(MISTRAL_WEIGHTS)))
    if params.get("dtype") is None and dtype is not None:
        whole = Values(whole.values | {"dtype": dtype},
                       whole.origins | {"dtype": f"majority of the tensors in {MISTRAL_WEIGHTS}"})
    return params, whole, str(path)


def _whole(params: Mapping[str, Any], beside: Mapping[str, Any], source: str, beside_source: str) -> Values:
    found = adapt(params, beside, source, beside_source)
    return set_defaults(fill(found, beside, source, beside_source), source)


def fill(given: Values, beside: Mapping[str, Any], source: str, beside_source: str) -> Values:
    """Add keys that the params lack from the config.json beside them."""
    if not beside:
        return given
    own = move_ropes(given, source, is_whole=True)
    other = move_ropes(Values(dict(beside)), beside_source, is_whole=True)
    new = {key: value for key, value in other.values.items() if key not in own.values and key not in _NOT_FILLED}
    filled = Values(own.values | new, own.origins | {key: moved(beside_source, key) for key in new})
    if "text_config" in own.values or not isinstance(other.values.get(ROPE), Mapping):
        return filled
    return _fill_rope(filled, other, beside_source, has_scaling=ROPE in given.values)


def _fill_rope(own: Values, other: Values, beside_source: str, *, has_scaling: bool) -> Values:
    """Add rotary keys that the params lack; if the params have a scaling, only the base."""
    rope, origins = dict(own.values.get(ROPE) or {}), dict(own.origins)
    for key, value in other.values[ROPE].items():
        path = f"{ROPE}.{key}"
        is_said = key in rope and not is_of_class(origins.get(path))
        if not is_said and (not has_scaling or key == "rope_theta"):
            rope[key], origins[path] = value, other.origins.get(path) or moved(beside_source, path)
    return Values(own.values | {ROPE: rope}, origins)


def set_defaults(given: Values, source: str) -> Values:
    """Add the format's defaults: no sliding window, rotary base 10000. ConfigError for a missing size."""
    is_nested = isinstance(given.values.get("text_config"), Mapping)
    text, path = (given.values["text_config"], "text_config.") if is_nested else (given.values, "")
    if text["architectures"] == [MAMBA]:
        return given
    for key, name in _NEEDED.items():
        if text.get(key) is None:
            raise ConfigError(name, None, expected="a value", hint="The key is missing.", source=source)
    has_window = text["architectures"] == [LARGE] or "sliding_window" in text
    new: dict[str, Any] = {} if has_window else {"sliding_window": None}
    rope = text.get(ROPE)
    if (rope if isinstance(rope, Mapping) else {}).get("rope_theta", text.get("rope_theta")) is None:
        new["rope_theta"] = 10000.0
    origins = given.origins | {f"{path}{key}": FORMAT_DEFAULT for key in new}
    values = given.values | {"text_config": {**text, **new}} if is_nested else given.values | new
    return Values(values, origins)
