"""The table of quantization formats by method, and `read_format`, which reads a checkpoint's settings."""

from __future__ import annotations

import logging
from collections.abc import Callable

from weft.architectures.reader import ConfigReader
from weft.checkpoint.quantization import awq, bitsandbytes, compressed_tensors, float4, float8, gptq, modelopt
from weft.checkpoint.quantization.layout import Format
from weft.config.engine_config import QuantizationSettings

logger = logging.getLogger("weft")

FORMATS: dict[str, Callable[[ConfigReader], Format]] = {
    "awq": awq.read,
    "bitsandbytes": bitsandbytes.read,
    "compressed-tensors": compressed_tensors.read,
    "fp8": float8.read,
    "gptq": gptq.read,
    "modelopt": modelopt.read,
    "mxfp4": float4.read_mxfp4,
}


def read_format(settings: QuantizationSettings) -> Format:
    """The format of a checkpoint. ConfigError names the key that cannot be used; a warning in the log unknown keys."""
    reader = ConfigReader(settings.values, source=settings.source, path=settings.path)
    found = FORMATS[settings.method](reader)
    unread = reader.unread()
    if unread:
        logger.warning("%s: keys that weft does not know and does not use: %s", settings.source,
                       ", ".join(f"{key} = {value!r}" for key, value in sorted(unread.items())))
    return found
