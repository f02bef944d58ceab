"""Environment variables about sources and caches. No other module of `resolve/` reads the environment.

`huggingface_hub` and `modelscope_hub` read their own variables (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, MODELSCOPE_CACHE,
…) themselves.
"""

from __future__ import annotations

import os
from pathlib import Path

from weft.errors import ConfigError

_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def uses_modelscope() -> bool:
    """True when WEFT_USE_MODELSCOPE, or VLLM_USE_MODELSCOPE, is on: models are looked up on ModelScope, not the hub."""
    found = _variable("USE_MODELSCOPE")
    if found is None or found[1].lower() in _OFF:
        return False
    if found[1].lower() not in _ON:
        raise ConfigError(found[0], found[1], expected="0 or 1", source="environment")
    return True


def redirect_file() -> str | None:
    """WEFT_MODEL_REDIRECT_PATH, or VLLM_MODEL_REDIRECT_PATH: a file that maps model names to folders (`redirected`)."""
    found = _variable("MODEL_REDIRECT_PATH")
    return found[1] if found else None


def cache_root() -> Path:
    """The folder for what weft finds out once and keeps: WEFT_CACHE_ROOT, or VLLM_CACHE_ROOT, else ~/.cache/weft."""
    found = _variable("CACHE_ROOT")
    return Path(found[1] if found else "~/.cache/weft").expanduser()


def has_token_variable() -> bool:
    """True when HF_TOKEN (or its older name) is set."""
    return bool(os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"))


def _variable(name: str) -> tuple[str, str] | None:
    return next(((full, os.environ[full]) for full in (f"WEFT_{name}", f"VLLM_{name}") if os.environ.get(full)), None)
