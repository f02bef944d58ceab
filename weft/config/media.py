"""Options about media of prompts: `read_limits` reads vLLM's `limit_mm_per_prompt`, `read_processor_kwargs` its
`mm_processor_kwargs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.errors import ConfigError

KINDS = ("image", "video", "audio")
_FIELD = "limit_mm_per_prompt"
# What vLLM's long form says besides the count, to plan memory for items of that size. weft plans none for them.
_SIZES = frozenset({"width", "height", "num_frames", "length"})
# Arguments of Transformers' processors that are a prompt's data, or that weft reads the result by.
DATA_ARGUMENTS = frozenset({"text", "images", "videos", "audio", "return_tensors", "return_text_replacement_offsets"})


def read_processor_kwargs(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the model's processor for all prompts. ConfigError for what is no setting."""
    for name, value in given.items():
        if not isinstance(name, str) or name in DATA_ARGUMENTS:
            raise ConfigError("mm_processor_kwargs", {name: value},
                              expected="settings of the model's processor by name",
                              hint=f"{', '.join(sorted(DATA_ARGUMENTS))} are weft's to give.")
    return dict(given)


def read_limits(given: Mapping[str, Any] | None) -> dict[str, int]:
    """{kind: most items of a prompt}; a kind that is not there has no limit. ConfigError names what is wrong.

    given: {kind: number}, or {kind: {"count": number}} with sizes, which are checked and not used.
    """
    limits: dict[str, int] = {}
    for kind, value in (given or {}).items():
        if kind not in KINDS:
            raise ConfigError(_FIELD, kind, expected=f"only the keys {', '.join(KINDS)}")
        count = value.get("count", 999) if isinstance(value, Mapping) else value
        numbers = {kind: count} if not isinstance(value, Mapping) else {f"{kind}.{key}": x for key, x in value.items()}
        for name, number in numbers.items():
            key = name.partition(".")[2]
            if key not in {"", "count", *_SIZES}:
                raise ConfigError(f"{_FIELD}.{name}", number, expected=f"count, {', '.join(sorted(_SIZES))}")
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise ConfigError(f"{_FIELD}.{name}", number, expected="a whole number from 0")
        limits[kind] = count
    return limits
