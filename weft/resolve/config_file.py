"""`HFConfig`, a model's normalised config, and `normalise`, which makes it from config.json in stages (`stages.py`).

Knows the shape of a config.json (architectures, nested text config), but no key that only one model family has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.architectures.origin import OVERRIDE
from weft.architectures.reader import ConfigReader
from weft.errors import ConfigError
from weft.resolve import stages
from weft.resolve.fixups import fix_model_config
from weft.resolve.formats import CONFIG_NAME, choose_format
from weft.resolve.hf.classes import recipe_of
from weft.resolve.hf.text_defaults import fill_text_defaults
from weft.resolve.json_file import read_json
from weft.resolve.sizes import check_sizes
from weft.resolve.stages import TEXT_CONFIG_KEYS, Values

# Origin of the model_type "speculators", which such files do not name themselves.
SPECULATORS = "there is a speculators_config"


@dataclass(frozen=True, slots=True)
class HFConfig:
    """A normalised config.

    source: the file it was read from. origins: {dotted key: source of its value}, for keys whose value is not the one
    under the same key of the file.
    """

    values: dict[str, Any]
    source: str
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> Mapping[str, Any]:
        """The language model's values: the nested text config if there is one, else the whole config. If a config
        nests an encoder and a decoder, the decoder's."""
        key = self.text_path.removesuffix(".")
        return self.values[key] if key else self.values

    @property
    def text_path(self) -> str:
        """The place of `text` in the config: "" or e.g. "text_config."."""
        is_pair = all(isinstance(self.values.get(key), dict) for key in ("encoder", "decoder"))
        keys = (*TEXT_CONFIG_KEYS, *(("decoder",) if is_pair else ()))
        return next((f"{key}." for key in keys if isinstance(self.values.get(key), dict)), "")

    def text_reader(self) -> ConfigReader:
        """A reader of `text`."""
        reader = ConfigReader(self.values, source=self.source, origins=self.origins)
        return reader.sub(self.text_path.removesuffix(".")) if self.text_path else reader

    @property
    def architecture(self) -> str:
        """The first name of `architectures`."""
        return self.values["architectures"][0]


def find_config(directory: Path) -> Path:
    """The path of a directory's config.json. ConfigError if it is missing; the error says what the directory holds."""
    path = directory / CONFIG_NAME
    if not path.is_file():
        name, why = choose_format(directory)      # raises unless the directory holds a Mistral config
        raise ConfigError("model", str(directory), expected=f"a directory with a {CONFIG_NAME}",
                          hint=f"For config_format {name} {why}.")
    return path


def read_config(directory: Path, overrides: Mapping[str, Any]) -> HFConfig:
    """A directory's config.json with the user's overrides on top. ConfigError when it cannot be used."""
    path = find_config(directory)
    return normalise(read_json(path), overrides, str(path))


def normalise(values: Mapping[str, Any], overrides: Mapping[str, Any], source: str,
              origins: Mapping[str, str] | None = None) -> HFConfig:
    """A config's values with the user's overrides on top, through all stages (docs/configuration.md).

    origins: {dotted key: source} of values that do not come from the file `source`. ConfigError names key and file.
    """
    model_type = stages.find_model_type(values, overrides, source)
    recipe = recipe_of(model_type)
    own = stages.rename_keys(Values(dict(values), dict(origins or {})), recipe, source)
    own = stages.move_ropes(own, source, is_whole=True)
    on_top = stages.rename_keys(Values(dict(overrides)), recipe, OVERRIDE)
    on_top = stages.move_ropes(on_top, OVERRIDE, is_whole=False)
    found = stages.merge_overrides(own, on_top)
    if model_type is not None and found.values.get("model_type") is None:
        found = Values(found.values | {"model_type": model_type}, found.origins | {"model_type": SPECULATORS})
    found = stages.fill_in(found, recipe, source)
    found = stages.move_ropes(found, source, is_whole=True)      # fill_in may have added old spellings
    found = stages.name_architectures(stages.name_dtypes(check_sizes(found, source)), source)
    _check_model_types(HFConfig(found.values, source))
    found = fill_text_defaults(found, source)
    stages.check_ropes(found.values, found.origins, source)
    fixed, all_origins = fix_model_config(found.values, found.origins, source)
    return HFConfig(fixed, source, all_origins)


def _check_model_types(config: HFConfig) -> None:
    for prefix, values in (("", config.values), (config.text_path, config.text)):
        if not isinstance(values.get("model_type"), str | None):
            raise ConfigError(f"{prefix}model_type", values["model_type"], expected="a string", source=config.source)
