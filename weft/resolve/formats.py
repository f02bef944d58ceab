"""Chooses a model's config format (Hugging Face's or Mistral's) from the names of its files.

Only names are looked at; no file is opened.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from weft.errors import ConfigError
from weft.resolve.config_parser import ConfigFormat

CONFIG_NAME = "config.json"
MISTRAL_CONFIG_NAME = "params.json"
MISTRAL_WEIGHTS = "consolidated*.safetensors"
_MAX_DEPTH = 2      # levels of a directory that are listed


def choose_format(directory: Path) -> tuple[str, str]:
    """(format, why) for a directory. ConfigError when it has neither format's files; the error names both."""
    patterns = ("/".join(["*"] * depth) for depth in range(1, _MAX_DEPTH + 1))
    return format_of({path.relative_to(directory).as_posix() for pattern in patterns for path in directory.glob(pattern)
                      if path.is_file()}, str(directory))


def format_of(names: Collection[str], model: str) -> tuple[str, str]:
    """(format, why) for these file names: Mistral's when its config and weights are present, else Hugging Face's."""
    is_mistral = MISTRAL_CONFIG_NAME in names and any(fnmatch(name, MISTRAL_WEIGHTS) for name in names)
    if is_mistral:
        return ConfigFormat.MISTRAL.value, f"there are {MISTRAL_CONFIG_NAME} and {MISTRAL_WEIGHTS}"
    if CONFIG_NAME in names:
        return ConfigFormat.HF.value, f"there is a {CONFIG_NAME}"
    hint = _what_is_there(names, model)
    raise ConfigError("model", model, hint=hint, expected=f"a directory with a {CONFIG_NAME}, or with a "
                      f"{MISTRAL_CONFIG_NAME} and {MISTRAL_WEIGHTS}")


def _what_is_there(names: Collection[str], model: str) -> str:
    if MISTRAL_CONFIG_NAME in names:
        return (f"There is a {MISTRAL_CONFIG_NAME}, but no {MISTRAL_WEIGHTS}; config_format mistral reads it without "
                "them.")
    if any(fnmatch(name, MISTRAL_WEIGHTS) for name in names):
        return f"There are {MISTRAL_WEIGHTS}, but no {MISTRAL_CONFIG_NAME}."
    if any(name.endswith(".gguf") for name in names):
        return "There are .gguf files: pass the path of the one to run."
    nested = sorted(name for name in names if name.count("/") == 1 and name.endswith(f"/{CONFIG_NAME}"))
    if nested:
        return f"There is one in {model}/{nested[0].removesuffix(f'/{CONFIG_NAME}')}: did you mean that?"
    top = sorted({name.partition("/")[0] for name in names})
    shown = ", ".join(top[:8]) + (f" and {len(top) - 8} more" if len(top) > 8 else "")
    return f"It holds {shown}." if top else "It is empty."
