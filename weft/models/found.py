"""Descriptions that `weft describe` found and proved, kept on disk by the hash of what they describe.

A description is kept for one version of one class: its name has the hash of the source of the class's file, of its
config's file and of weft's version. `weft/discover/` finds and proves descriptions; this module only keeps them.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from pathlib import Path
from typing import Any

from weft.architectures.origin import class_default
from weft.architectures.registry import Architecture, architectures_of
from weft.config.engine_config import ModelConfig
from weft.config.frozen import thaw
from weft.errors import ConfigError, WeftError
from weft.extend.python_file import load_python_file
from weft.models.transformers.find_class import find_class
from weft.resolve.sources.environment import cache_root
from weft.version import __version__

logger = logging.getLogger("weft")


def kept_file(cls: Any) -> Path:
    """Where the description of a class is kept, or would be."""
    digest = hashlib.sha256(__version__.encode())
    for module in (inspect.getmodule(cls), inspect.getmodule(cls.config_class)):
        digest.update(b"" if module is None else inspect.getsource(module).encode())
    return cache_root() / "descriptions" / f"{cls.__name__}-{digest.hexdigest()[:16]}.py"


def keep(cls: Any, text: str) -> Path:
    """Keep a proven description; its file. OSError where the folder cannot be written."""
    file = kept_file(cls)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)
    return file


def found_file(model: ModelConfig) -> Path | None:
    """The kept description of a model's class; None: there is none, or the class cannot be had.

    Runs code of the checkpoint if the model's class is such code and is trusted.
    """
    try:
        file = kept_file(find_class(model))
    except (WeftError, OSError, TypeError):        # the source of some classes cannot be read
        return None
    return file if file.is_file() else None


def found_architecture(model: ModelConfig) -> Architecture | None:
    """The kept description of a model's class, for `describe`; None: there is none."""
    file = found_file(model)
    if file is None:
        return None
    try:
        entries = architectures_of(load_python_file(file, field="description"))
    except ConfigError as error:
        logger.warning("%s is not used: %s", file, error)
        return None
    entry = next((entries[name] for name in model.hf_config["architectures"] if name in entries), None)
    return entry and Architecture(entry.name, entry.describe, reads_defaults=True)


def with_defaults(model: ModelConfig) -> tuple[dict[str, Any], dict[str, str]]:
    """(values, origins) of a model's config, with what its config class fills in: found descriptions read those too."""
    cls, values = find_class(model).config_class, thaw(model.hf_config)
    filled = cls.from_dict(dict(values)).to_dict()
    added = {key: value for key, value in filled.items() if key not in values}
    return added | values, {key: class_default(cls.__name__) for key in added} | dict(model.origins)
