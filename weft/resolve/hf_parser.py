"""The parser of Hugging Face's format: config.json through the stages, then an object of its class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.errors import ConfigError
from weft.resolve.config_file import HFConfig, normalise
from weft.resolve.config_parser import ConfigParserBase
from weft.resolve.formats import CONFIG_NAME
from weft.resolve.hf_classes import build_config, class_of
from weft.resolve.repo_files import get_hf_file_to_dict

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class HFConfigParser(ConfigParserBase):
    """config.json."""

    def parse(self, model: str | Path, trust_remote_code: bool, revision: str | None = None,
              code_revision: str | None = None, *, hf_overrides: Mapping[str, Any] | None = None,
              token: str | None = None, **kwargs: Any) -> tuple[dict[str, Any], PretrainedConfig]:
        """(config.json as it is, the object of its normalised values).

        hf_overrides: put over the file. ConfigError naming key and file, RemoteCodeError for code that is not trusted.
        """
        values = get_hf_file_to_dict(CONFIG_NAME, model, revision, token)
        if values is None:
            raise ConfigError("model", str(model), expected=f"a directory or repository with a {CONFIG_NAME}")
        config = normalise(values, hf_overrides or {}, f"{model}/{CONFIG_NAME}")
        return values, object_of(config, str(model), trust_remote_code=trust_remote_code, revision=revision,
                                 code_revision=code_revision)


def object_of(config: HFConfig, model: str, *, trust_remote_code: bool, revision: str | None = None,
              code_revision: str | None = None) -> PretrainedConfig:
    """The config object of normalised values."""
    cls = class_of(config.values, model, trust_remote_code=trust_remote_code, revision=revision,
                   code_revision=code_revision)
    return build_config(config.values, cls, config.source)
