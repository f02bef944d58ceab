"""Matches stems against the module names in quantization settings: plain names, `re:` expressions and wildcards.

Stems are a checkpoint's own names without suffix, such as `model.layers.0.mlp.up_proj`.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from weft.architectures.reader import ConfigReader

_EXPRESSION = re.compile(r"[*\\^$|()\[\]+?]")


def name_list(reader: ConfigReader, *keys: str) -> tuple[str, ...]:
    """The patterns under the first of `keys` that is present. ConfigError unless they are valid strings."""
    patterns = reader.list(*keys, default=None) or ()
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise reader.error(keys[0], pattern, "a list of module names")
        if pattern.startswith("re:"):
            compiled(reader, keys[0], pattern.removeprefix("re:"))
    return tuple(patterns)


def compiled(reader: ConfigReader, key: str, expression: str) -> re.Pattern[str]:
    """A regular expression of the settings, compiled. ConfigError when it is invalid."""
    try:
        return re.compile(expression)
    except re.error as error:
        raise reader.error(key, expression, "a regular expression", f"{error}.") from error


def matching(stem: str, patterns: tuple[str, ...]) -> str | None:
    """The first pattern that matches a stem, or None.

    `re:X`: X matches from the start of the stem. A plain name matches whole segments: `mlp.gate` matches
    `model.layers.0.mlp.gate` and all modules below it, but not `mlp.gate_proj`. A name with wildcards matches the whole
    stem; or, read as a regular expression, from the stem's start up to the end of a segment.
    """
    return next((pattern for pattern in patterns if _names(pattern, stem)), None)


def _names(pattern: str, stem: str) -> bool:
    if pattern.startswith("re:"):
        return re.match(pattern.removeprefix("re:"), stem) is not None
    if not _EXPRESSION.search(pattern):
        return f".{pattern.strip('.')}." in f".{stem}."
    if fnmatchcase(stem, pattern):
        return True
    try:
        return re.match(rf"(?:{pattern})(?:(?<=\.)|(?=\.|$))", stem) is not None
    except re.error:                    # a wildcard like "*.gate" is no valid expression
        return False
