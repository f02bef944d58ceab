"""`freeze` and `thaw`: nested plain data made immutable and mutable again.

Frozen data stays plain: it can be written as JSON and pickled for a child process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class FrozenDict(dict[str, Any]):
    """A dictionary that raises TypeError on every change."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("this configuration is frozen: make a changed copy with {**config, ...}")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = popitem = _refuse
    # dict's own signatures differ: these accept any arguments and never return.
    pop = setdefault = update = _refuse  # pyright: ignore[reportAssignmentType]

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)


def freeze(value: Any) -> Any:
    """A copy with dictionaries turned into FrozenDicts and lists into tuples, at every level."""
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(inner) for key, inner in value.items()})
    return tuple(freeze(inner) for inner in value) if isinstance(value, list | tuple) else value


def thaw(value: Any) -> Any:
    """A mutable copy: plain dictionaries and lists at every level."""
    if isinstance(value, Mapping):
        return {key: thaw(inner) for key, inner in value.items()}
    return [thaw(inner) for inner in value] if isinstance(value, list | tuple) else value
