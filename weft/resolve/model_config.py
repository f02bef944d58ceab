"""`read_model_config`: turns a model's files and the options about its config into one `HFConfig`.

Chooses the parser and logs why. config.json and params.json go through the stages as dictionaries; a Transformers
config object is made only for an override function, a registered parser, or trusted code of the checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from weft.architectures.origin import class_default, moved
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve.config_file import HFConfig, find_config, normalise
from weft.resolve.config_object import call_override, probed_model_type
from weft.resolve.config_parser import ConfigFormat
from weft.resolve.files import find_model
from weft.resolve.formats import CONFIG_NAME, choose_format
from weft.resolve.gguf.config import maybe_patch_hf_config_from_gguf, read_gguf_config
from weft.resolve.hf.classes import build_config, class_of, own_values, plain_config, remote_class, values_of
from weft.resolve.json_file import read_json
from weft.resolve.mistral.parser import read_params
from weft.resolve.options.overrides import changes
from weft.resolve.parsers import get_config_parser, parsers_of_file

logger = logging.getLogger("weft")


def read_model_config(args: EngineArgs, directory: Path, gguf: Path | None = None) -> HFConfig:
    """The normalised config of the model in `directory`, or of the model that args.hf_config_path names.

    gguf: the model's GGUF file. Its metadata is the config if there is no config.json beside it.
    """
    folder = directory if args.hf_config_path is None else _folder(args)
    is_asked = args.hf_config_path or args.config_parser_file or args.config_format != ConfigFormat.AUTO
    if gguf is not None and not is_asked and not (folder / CONFIG_NAME).is_file():
        config = read_gguf_config(gguf, {})
        return _overridden(args, config.values, config.source, config.origins)
    name, why = _format(args, folder)
    logger.info("config format %s: %s", name, why)
    if name == ConfigFormat.MISTRAL:
        found, source = read_params(folder)
        values, origins = found.values, found.origins
    elif name != ConfigFormat.HF:
        values, source, origins = _parsed(name, args, folder)
    else:
        path = find_config(folder)
        source = str(path)
        values, origins = _with_remote_defaults(read_json(path), args, folder)
    if gguf is None:
        return _overridden(args, values, source, origins)
    values.pop("quantization_config", None)      # describes the safetensors files, not the GGUF file
    return maybe_patch_hf_config_from_gguf(gguf, _overridden(args, values, source, origins))


def _overridden(args: EngineArgs, values: Mapping[str, Any], source: str, origins: Mapping[str, str]) -> HFConfig:
    overrides = args.hf_overrides
    if callable(overrides):
        overrides = _function_changes(overrides, values, source, origins)
    return normalise(values, overrides, source, origins)


def _folder(args: EngineArgs) -> Path:
    try:
        return find_model(replace(args, model=args.hf_config_path, load_format="dummy")).directory
    except ConfigError as error:
        raise ConfigError("hf_config_path", args.hf_config_path, expected=error.expected, hint=error.hint) from error


def _format(args: EngineArgs, folder: Path) -> tuple[str, str]:
    """(format, why). A parser file that registers a single parser selects that parser's format."""
    if args.config_parser_file is not None:
        found = parsers_of_file(args.config_parser_file)
        if args.config_format == ConfigFormat.AUTO and len(found) == 1:
            return found[0], f"{args.config_parser_file} registers it"
        if args.config_format == ConfigFormat.AUTO:
            raise ConfigError("config_format", "auto", expected=f"one of {', '.join(found)}",
                              hint=f"{args.config_parser_file} registers more than one.")
    if args.config_format != ConfigFormat.AUTO:
        return args.config_format, "option config_format"
    return choose_format(folder)


def _parsed(name: str, args: EngineArgs, folder: Path) -> tuple[dict[str, Any], str, dict[str, str]]:
    """(values, source, origins) from a registered parser's result."""
    source = f"{folder} (config format {name})"
    parser = get_config_parser(name)
    try:
        raw, config = parser.parse(str(folder), args.trust_remote_code, args.revision, args.code_revision)
        values = own_values(config)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError("config_format", name, expected="a model that its parser can read", source=str(folder),
                          hint=f"{type(error).__name__}: {error}") from error
    return {**values, **{key: raw[key] for key in raw if key not in values}}, source, {
        key: class_default(type(config).__name__) for key in values if key not in raw}


def _with_remote_defaults(values: dict[str, Any], args: EngineArgs,
                          folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(values, origins): the file's values and, with trust_remote_code, defaults of the checkpoint's own config class.

    A class that Transformers has too adds nothing, because weft's families know its defaults.
    """
    if not args.trust_remote_code or remote_class(values) is None:
        return values, {}
    try:
        cls = class_of(values, str(folder), trust_remote_code=True, revision=args.revision,
                       code_revision=args.code_revision)
        config = build_config(values, cls, str(folder))
    except ConfigError as error:
        logger.warning("the checkpoint's config class is not used: %s", error)
        return values, {}
    if not cls.__module__.startswith("transformers_modules"):      # Transformers has it: families know its defaults
        return values, {}
    defaults = {key: value for key, value in own_values(config).items() if key not in values}
    origins = {key: class_default(cls.__name__) for key in defaults}
    for key, old in cls.attribute_map.items():
        if key not in values and old in values:
            defaults[key], origins[key] = values[old], moved(str(folder / CONFIG_NAME), old)
    return {**values, **defaults}, origins


def _function_changes(function: Callable[[Any], Any], values: Mapping[str, Any], source: str,
                      origins: Mapping[str, str]) -> dict[str, Any]:
    """The changes that an override function makes to the config object, as a dictionary of overrides."""
    model_type = probed_model_type(function)
    chosen = {} if model_type is None else {"model_type": model_type}
    config = normalise(values, chosen, source, origins)
    try:
        before = build_config(config.values, class_of(config.values, source), source)
    except ConfigError:      # the class is unknown, or refuses these values: take the values alone
        before = plain_config(config.values, source)
    given = values_of(before)
    return chosen | changes(given, values_of(call_override(function, before)))
