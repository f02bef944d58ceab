"""From a model's name to its files and one normalised config. The public names are in `__all__`, loaded when used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "check_gguf_file": "gguf_files",
    "is_gguf": "gguf_files",
    "is_remote_gguf": "gguf_files",
    "is_valid_gguf_quant_type": "gguf_files",
    "maybe_patch_hf_config_from_gguf": "gguf_config",
    "split_remote_gguf": "gguf_files",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
