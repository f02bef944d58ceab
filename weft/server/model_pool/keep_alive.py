"""`read_keep_alive`: how long a model stays loaded without requests, as Ollama's clients and options write it."""

from __future__ import annotations

import math
import re
from typing import Any

from weft.errors import ConfigError

FOREVER = math.inf
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def read_keep_alive(value: Any, field: str = "keep_alive") -> float:
    """Seconds: of a number, a text with a number, or a duration such as "5m" and "1h30m"; below 0: FOREVER.

    ConfigError names `field` for anything else.
    """
    seconds = _seconds(value.strip()) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or math.isnan(seconds):
        raise ConfigError(field, value, expected='seconds, or a duration such as "5m"; 0: unload at once; -1: never')
    return FOREVER if seconds < 0 else float(seconds)


def _seconds(text: str) -> float | None:
    """The seconds that a text means; None for a text that means none."""
    sign = -1 if text.startswith("-") else 1
    digits = text.removeprefix("-")
    if re.fullmatch(r"\d+(\.\d+)?", digits):
        return sign * float(digits)
    parts = _PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        return None
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
