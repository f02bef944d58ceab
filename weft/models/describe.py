"""`describe`: turns a resolved model config into a `ModelSpec` by the description of its architecture."""

from __future__ import annotations

import logging
from inspect import unwrap

from weft.architectures.keys import check_token_ids
from weft.architectures.pooling_keys import read_pooling_keys
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture, names_of
from weft.architectures.spec import DecoderSpec, EncoderSpec, ModelSpec
from weft.config.engine_config import ModelConfig
from weft.errors import DescriptionError, WeftError
from weft.extend.user_frame import line_in, with_line
from weft.models.found import with_defaults
from weft.models.purpose import Purpose, read_purpose
from weft.resolve.options.override_check import check_overrides

logger = logging.getLogger("weft")


def describe(model: ModelConfig, architecture: Architecture) -> tuple[ModelSpec, ConfigReader]:
    """(the model's spec, the reader that knows which keys were read). Logs keys that nothing read as a warning.

    ConfigError for a value that the description cannot use, and for an override that nothing read.
    """
    source = model.config_source
    values, origins = with_defaults(model) if architecture.reads_defaults else (model.hf_config, model.origins)
    reader = ConfigReader(values, source=source, origins=origins)
    check_token_ids(reader)
    spec = _described(architecture, reader)
    purpose = purpose_of(spec, model, architecture)
    if purpose.pools:                            # so that the keys count as read; the pooler is made of them later
        read_pooling_keys(reader, classifies=purpose.convert == "classify")
    check_overrides(reader, model.origins)
    unread = reader.unread()
    if unread:
        logger.warning("%s: keys that weft does not know and does not use: %s", source,
                       ", ".join(f"{key} = {value!r}" for key, value in sorted(unread.items())))
    return spec, reader


def purpose_of(spec: ModelSpec, model: ModelConfig, architecture: Architecture) -> Purpose:
    """What a described model is run for. architecture: the name that was chosen of the config's.

    A model with an encoder has its head under each name of its description (MarianMTModel).
    """
    has_encoder = isinstance(spec, DecoderSpec) and spec.encoder is not None
    return read_purpose(model, architecture.name, generates=isinstance(spec, DecoderSpec), own=spec.pools_as,
                        has_head=has_encoder and architecture.name in names_of(architecture))


def _described(entry: Architecture, reader: ConfigReader) -> ModelSpec:
    """What a function says about the model. DescriptionError with file and line for a mistake in a user's function."""
    function = unwrap(entry.describe)
    name, file = getattr(function, "__name__", repr(function)), getattr(function, "__code__", None)
    file = "" if file is None else file.co_filename
    try:
        spec = entry.describe(reader)
    except DescriptionError as error:
        raise with_line(file, error) from error
    except WeftError:
        raise
    except (Exception, SystemExit) as error:
        line = line_in(file, error)
        raise DescriptionError(f"{name}()", error, expected="a function that returns a DecoderSpec or EncoderSpec",
                               source=file if line is None else f"{file}, line {line}") from error
    if not isinstance(spec, DecoderSpec | EncoderSpec):
        raise DescriptionError(f"{name}()", spec, expected="a DecoderSpec or EncoderSpec", source=file,
                               hint="End the function with `return decoder(c, ...)`.")
    return spec
