"""`freeze`: plain data that cannot be changed any more, and still is data: written as JSON, sent to a child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class FrozenDict(dict[str, Any]):
    """A dictionary that refuses to be changed."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("this configuration is frozen: make a changed copy with {**config, ...}")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = popitem = _refuse
    # They take what a dictionary's take, and never return.
    pop = setdefault = update = _refuse  # pyright: ignore[reportAssignmentType]

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)


def freeze(value: Any) -> Any:
    """Dictionaries as FrozenDicts and lists as tuples, all the way down."""
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(inner) for key, inner in value.items()})
    return tuple(freeze(inner) for inner in value) if isinstance(value, list | tuple) else value


def thaw(value: Any) -> Any:
    """A copy that can be changed: plain dictionaries and lists, all the way down."""
    if isinstance(value, Mapping):
        return {key: thaw(inner) for key, inner in value.items()}
    return [thaw(inner) for inner in value] if isinstance(value, list | tuple) else value
