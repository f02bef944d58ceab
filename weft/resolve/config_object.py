"""`get_config`: a model's config as a Transformers object, for users of the library. The engine reads dictionaries.

Name and arguments are vLLM's. Config format, overrides and rope parameters are treated as for an engine's config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.architectures.reader import ConfigReader
from weft.architectures.rope_parameters import NAME, is_by_layer, normalise_rope
from weft.errors import ConfigError
from weft.resolve.config_parser import ConfigFormat
from weft.resolve.files import find_config_files
from weft.resolve.formats import CONFIG_NAME, choose_format, format_of
from weft.resolve.gguf.config import read_gguf_config
from weft.resolve.hf.parser import object_of
from weft.resolve.parsers import get_config_parser

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def get_config(model: str | Path, trust_remote_code: bool, revision: str | None = None,
               code_revision: str | None = None, config_format: str = "auto",
               hf_overrides_kw: Mapping[str, Any] | None = None,
               hf_overrides_fn: Callable[[PretrainedConfig], PretrainedConfig] | None = None, *,
               hf_config_path: str | Path | None = None, token: str | None = None,
               **kwargs: Any) -> PretrainedConfig:
    """The config of a directory, of a GGUF file, or of a model on the hub, found in the same way as an engine finds it.

    hf_overrides_kw: values put over the file's; a model_type among them decides the config class. hf_overrides_fn: a
    function that takes the config object and returns one. hf_config_path: the model whose config is read instead.
    token: the hub's access token. kwargs: passed on to a registered parser.
    ConfigError for a model that is not found, a format without a parser, and values that cannot be used; TypeError for
    keywords that weft's own parsers do not take.
    """
    field = "model" if hf_config_path is None else "hf_config_path"
    found = find_config_files(hf_config_path or model, revision=revision, token=token, has_code=trust_remote_code,
                              field=field)
    is_own = config_format in (ConfigFormat.AUTO, ConfigFormat.HF, ConfigFormat.MISTRAL)
    if is_own and kwargs:
        raise TypeError(f"get_config() got an unexpected keyword argument {next(iter(kwargs))!r}")
    overrides = dict(hf_overrides_kw or {})
    if hf_overrides_fn is not None and (model_type := probed_model_type(hf_overrides_fn)):
        overrides["model_type"] = model_type
    has_json = (found.directory / CONFIG_NAME).is_file()
    if found.gguf is not None and not has_json and config_format == ConfigFormat.AUTO:
        config = object_of(read_gguf_config(found.gguf, overrides), str(model), trust_remote_code=trust_remote_code)
    else:
        if config_format == ConfigFormat.AUTO:
            config_format, _ = format_of(found.names, str(model)) if found.names else choose_format(found.directory)
        _, config = get_config_parser(config_format).parse(
            str(found.directory), trust_remote_code, revision, code_revision, hf_overrides=overrides,
            **{} if token is None else {"token": token}, **kwargs)
        if not is_own:      # weft's own parsers have applied the overrides already
            config.update(overrides)
    if hf_overrides_fn is not None:
        config = call_override(hf_overrides_fn, config)
    patch_rope_parameters(config)
    return config


def probed_model_type(function: Callable[[Any], Any]) -> str | None:
    """The model_type that an override function sets, found by calling it on an empty config; None when it sets none.

    A function that raises on an empty config counts as setting none.
    """
    from transformers import PretrainedConfig

    try:
        found = function(PretrainedConfig())
    except Exception:
        return None
    return getattr(found, "model_type", None) or None


def call_override(function: Callable[[Any], Any], config: PretrainedConfig) -> PretrainedConfig:
    """The result of an override function. ConfigError when it raises or does not return a config."""
    from transformers import PretrainedConfig

    name = getattr(function, "__name__", repr(function))
    try:
        found = function(config)
    except Exception as error:
        raise ConfigError("hf_overrides", name, expected="a function that turns the config into one",
                          hint=f"{type(error).__name__}: {error}") from error
    if not isinstance(found, PretrainedConfig):
        raise ConfigError("hf_overrides", name, expected="a function that returns a PretrainedConfig",
                          hint=f"It returned {type(found).__name__}; did it forget to return the config?")
    return found


def patch_rope_parameters(config: PretrainedConfig) -> None:
    """Set `rope_parameters` from older spellings, in the config object and in each of its `sub_configs`.

    Changes the object in place. ConfigError for names that contradict each other.
    """
    found = normalise_rope(ConfigReader(config.to_dict(), source=type(config).__name__))
    if found is not None:
        default = {} if is_by_layer(found.values) else {"rope_type": "default"}
        setattr(config, NAME, default | found.values)
    for name in {"text_config", *getattr(config, "sub_configs", ())}:
        inner = getattr(config, name, None)
        if inner is not None and hasattr(inner, "to_dict"):
            patch_rope_parameters(inner)
