"""`describe`: turns a resolved model config into a `ModelSpec` by the description of its architecture."""

from __future__ import annotations

import logging

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture
from weft.architectures.spec import ModelSpec
from weft.config.engine_config import ModelConfig
from weft.resolve.options.override_check import check_overrides

logger = logging.getLogger("weft")


def describe(model: ModelConfig, architecture: Architecture) -> tuple[ModelSpec, ConfigReader]:
    """(the model's spec, the reader that knows which keys were read). Logs keys that nothing read as a warning.

    ConfigError for a value that the description cannot use, and for an override that nothing read.
    """
    source = model.config_source
    reader = ConfigReader(model.hf_config, source=source, origins=model.origins)
    spec = architecture.describe(reader)
    check_overrides(reader, model.origins)
    unread = reader.unread()
    if unread:
        logger.warning("%s: keys that weft does not know and does not use: %s", source,
                       ", ".join(f"{key} = {value!r}" for key, value in sorted(unread.items())))
    return spec, reader
