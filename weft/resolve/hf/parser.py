"""The config parser for Hugging Face's format: normalises config.json in stages, then makes an object of its class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.architectures.reader import ConfigReader
from weft.resolve.config_file import HFConfig, find_config, normalise
from weft.resolve.config_parser import ConfigParserBase
from weft.resolve.files import find_config_files
from weft.resolve.hf.classes import build_config, class_of
from weft.resolve.json_file import read_json
from weft.resolve.options.quantization import MODELOPT_FILE

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class HFConfigParser(ConfigParserBase):
    """Reads a config.json."""

    # Narrower than the base class on purpose: a keyword that nobody knows is an error.
    def parse(  # pyright: ignore[reportIncompatibleMethodOverride]
              self, model: str | Path, trust_remote_code: bool, revision: str | None = None,
              code_revision: str | None = None, *, hf_overrides: Mapping[str, Any] | None = None,
              token: str | None = None) -> tuple[dict[str, Any], PretrainedConfig]:
        """(config.json unchanged, the config object of its normalised values).

        The object gets the quantization of a hf_quant_config.json beside the file if config.json has none.
        hf_overrides: values put over the file's. ConfigError names key and file; RemoteCodeError for untrusted code.
        """
        folder = find_config_files(model, revision=revision, token=token, has_code=trust_remote_code).directory
        path = find_config(folder)
        values = read_json(path)
        config = normalise(values, hf_overrides or {}, str(path))
        found = object_of(config, str(folder), trust_remote_code=trust_remote_code, revision=revision,
                          code_revision=code_revision)
        beside = folder / MODELOPT_FILE      # written by ModelOpt before 0.31
        if config.values.get("quantization_config") is None and beside.is_file():
            found.quantization_config = read_json(beside)
        return values, found


def object_of(config: HFConfig, model: str, *, trust_remote_code: bool, revision: str | None = None,
              code_revision: str | None = None) -> PretrainedConfig:
    """The config object of normalised values."""
    cls = class_of(config.values, model, trust_remote_code=trust_remote_code, revision=revision,
                   code_revision=code_revision)
    reader = ConfigReader(config.values, source=config.source, origins=config.origins)
    return build_config(config.values, cls, config.source, reader)
