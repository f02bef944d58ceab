"""Origins: where a value of a normalised config comes from, in words. One spelling for writing and reading them.

A value without an origin comes from the config file, under the same key.
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
    """The origin of a value that `source` has under another key."""
    return f"{source} [{key}]"


def first_key(origin: str | None) -> str | None:
    """The key under which a moved value was given; None if the value was not moved."""
    found = _MOVED.fullmatch(origin or "")
    return found[2] if found else None


def first_file(origin: str | None) -> str | None:
    """The file in which a moved value was given; None if the value was not moved."""
    found = _MOVED.fullmatch(origin or "")
    return found[1] if found else None


def class_default(name: str) -> str:
    """The origin of a value that the file lacks and the config class fills in."""
    return f"{_DEFAULT}{name}"


def arranged(name: str) -> str:
    """The origin of a value that the config class computed from other keys."""
    return f"{_ARRANGED}{name}"


def is_of_class(origin: str | None) -> bool:
    """True when the value comes from the config class (a default or computed), not from a file or the user."""
    return (origin or "").startswith((_DEFAULT, _ARRANGED))


def fixup(architecture: str) -> str:
    """The origin of a value that the architecture's fixup set."""
    return f"{_FIXUP}{architecture}"


def source_of(key: str, origins: Mapping[str, str], file: str) -> str:
    """A dotted key's own origin, else that of the nearest enclosing dictionary that has one, else the file."""
    path = key
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return file


def is_override(origin: str | None) -> bool:
    """True when the user set the value."""
    return origin == OVERRIDE or (origin or "").startswith(f"{OVERRIDE} [")
