"""`read_model_config`: from the files of a model and the options about its config to one `HFConfig`.

Chooses the parser and says why; hands config.json and params.json to the stages without Transformers, and makes an
object only for a function among the overrides, for another parser, and for trusted code of the checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from weft.resolve.origin import class_default, moved
from weft.resolve.parsers import get_config_parser, parsers_of_file

logger = logging.getLogger("weft")


def read_model_config(args: EngineArgs, directory: Path, gguf: Path | None = None) -> HFConfig:
    """The normalised config of the model in `directory`, or of the one that hf_config_path names.

    gguf: the model's GGUF file, whose metadata is the config where there is no config.json beside it.
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
    values.pop("quantization_config", None)      # said of other files
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
    """(format, why). A parser file with one parser is chosen by being given."""
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
    """(values, source, origins) of another parser's result."""
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
    """The file's values, and what the checkpoint's own config class adds where nobody else has its class."""
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
    """What an override function changes on the config's object, as overrides."""
    model_type = probed_model_type(function)
    chosen = {} if model_type is None else {"model_type": model_type}
    config = normalise(values, chosen, source, origins)
    try:
        before = build_config(config.values, class_of(config.values, source), source)
    except ConfigError:      # nobody has the class, or it refuses these values: they are all that is known
        before = plain_config(config.values, source)
    given = values_of(before)
    return chosen | changes(given, values_of(call_override(function, before)))
