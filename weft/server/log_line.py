"""`log_line`: the text of a log line as `name=value` pairs. Whatever a value is, it stays in its place on one line."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")      # printable ASCII but space, quote, equals sign and backslash


def log_line(**fields: object) -> str:
    """The pairs, in order. None is `-`, a float has three decimals, and other text is JSON where it needs to be."""
    return " ".join(f"{name}={_shown(value)}" for name, value in fields.items())


def _shown(value: object) -> str:
    if value is None:
        return "-"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    # JSON in ASCII has no line break, no control character but DEL, and no half of a surrogate pair.
    return text if _PLAIN.fullmatch(text) and text != "-" else json.dumps(text).replace("\x7f", "\\u007f")
