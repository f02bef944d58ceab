"""`hf_overrides`: merges the user's values into a config, and turns an override function's changes into such values.

Knows dictionaries only; `model_config.py` makes the config object that an override function gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from weft.architectures.origin import OVERRIDE
from weft.errors import ConfigError

# A dictionary, or a function from a config object to one.
HfOverrides = dict[str, Any] | Callable[[Any], Any]

_REMOVED = object()


def merge(values: Mapping[str, Any], overrides: Mapping[str, Any],
          path: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """`values` with `overrides` on top, dictionaries merged key by key; and {dotted key: "override"}."""
    merged, origins = dict(values), {}
    for key, value in overrides.items():
        if not isinstance(key, str):
            raise ConfigError("hf_overrides", key, expected="string keys")
        if isinstance(value, Mapping) and value:
            below = merged.get(key)
            merged[key], nested = merge(below if isinstance(below, Mapping) else {}, value, f"{path}{key}.")
            origins |= nested
        else:
            merged[key], origins[path + key] = value, OVERRIDE
    return merged, origins


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that turn `before` into `after`; a removed key becomes null."""
    found: dict[str, Any] = {}
    for key in (*after, *(key for key in before if key not in after)):
        old, new = before.get(key, _REMOVED), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if nested := changes(old, new):
                found[key] = nested
        elif old is not new and (type(old) is not type(new) or old != new):
            found[key] = new
    return found
