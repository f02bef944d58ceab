"""`describe`: turns a resolved model config into a `ModelSpec`, with weft's families and the user's model file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture, architectures_of, families, find
from weft.architectures.spec import ModelSpec
from weft.config.engine_config import ModelConfig
from weft.errors import ConfigError
from weft.extend.python_file import load_python_file
from weft.resolve.options.override_check import check_overrides

logger = logging.getLogger("weft")


def describe(model: ModelConfig, code: ModuleType | None = None) -> tuple[ModelSpec, ConfigReader]:
    """(the model's spec, the reader that knows which keys were read). Logs keys that nothing read as a warning.

    code: the model file as a module, from a caller that has run the file; None: `describe` runs the file, if any.
    ConfigError for an unknown architecture, a value the family cannot use, an override that nothing read, or a model
    file that does not run.
    """
    source = model.config_source
    known: Mapping[str, Architecture] = families()
    if model.model_file is not None:
        code = code or load_python_file(Path(model.model_file), field="model_file")
        known = {**known, **_own(code, model.model_file)}
    reader = ConfigReader(model.hf_config, source=source, origins=model.origins)
    spec = find(model.hf_config["architectures"], known, source=source).describe(reader)
    check_overrides(reader, model.origins)
    unread = reader.unread()
    if unread:
        logger.warning("%s: keys that weft does not know and does not use: %s", source,
                       ", ".join(f"{key} = {value!r}" for key, value in sorted(unread.items())))
    return spec, reader


def _own(code: ModuleType, path: str) -> dict[str, Architecture]:
    """The @architecture functions of the user's model file. ConfigError when the file has none."""
    found = architectures_of(code)
    if not found:
        raise ConfigError("model_file", path, expected="a file with a function marked @architecture(\"Name\"), or "
                          "with the class of a programmed model",
                          hint="docs/adding-a-model.md shows one.")
    return found
