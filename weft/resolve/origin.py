"""Where a value of a normalised config comes from, in words: one spelling for those who write it and those who read it.

A value without an origin is the config file's own, under its own key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

OVERRIDE = "override"
_MOVED = re.compile(r"(.*) \[(.+)\]", re.DOTALL)
_DEFAULT = "default of "
_ARRANGED = "worked out by "
_FIXUP = "fixup of "


def moved(source: str, key: str) -> str:
    """The value stands in `source` under another key."""
    return f"{source} [{key}]"


def first_key(origin: str | None) -> str | None:
    """The key under which a moved value was given; None for one that was not moved."""
    found = _MOVED.fullmatch(origin or "")
    return found[2] if found else None


def first_file(origin: str | None) -> str | None:
    """The file in which a moved value was given; None for one that was not moved."""
    found = _MOVED.fullmatch(origin or "")
    return found[1] if found else None


def class_default(name: str) -> str:
    """The file does not have the key; the config class fills it in."""
    return f"{_DEFAULT}{name}"


def arranged(name: str) -> str:
    """The config class made the value of others."""
    return f"{_ARRANGED}{name}"


def is_of_class(origin: str | None) -> bool:
    """True when nobody set the value: the config class did."""
    return (origin or "").startswith((_DEFAULT, _ARRANGED))


def fixup(architecture: str) -> str:
    """The architecture's fixup set the value."""
    return f"{_FIXUP}{architecture}"


def source_of(key: str, origins: Mapping[str, str], file: str) -> str:
    """A dotted key's own origin, else that of the nearest dictionary it is in, else the file."""
    path = key
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return file


def is_override(origin: str | None) -> bool:
    """True when the user set the value."""
    return origin == OVERRIDE or (origin or "").startswith(f"{OVERRIDE} [")
