"""Turns an exception of a config class into a ConfigError that names the key and its value.

Classes of Transformers and of checkpoints often raise errors that name no key. The key at fault is found by leaving out
one key at a time until the class accepts the rest. Knows no particular class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from weft.architectures.reader import ConfigReader
from weft.errors import ConfigError

_LONGEST_REASON = 500      # characters; an error of Transformers may quote the whole config


def complaint(values: Mapping[str, Any], make: Callable[[dict[str, Any]], Any], error: BaseException, *,
              class_name: str, reader: ConfigReader) -> ConfigError:
    """A ConfigError for an exception of `make(values)`. reader: the values' reader, for their names in the file."""
    reason = f"{type(error).__name__}: {error}"
    hint = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
    path = _fault(values, make)
    if path is None:
        return ConfigError("config", class_name, expected="values that the class takes", hint=hint,
                           source=reader.source)
    value: Any = values
    for name in path[:-1]:
        value, reader = value[name], reader.sub(name)
    return reader.error(path[-1], value[path[-1]], f"a value that {class_name} takes", hint)


def _fault(values: Mapping[str, Any], make: Callable[[dict[str, Any]], Any]) -> tuple[str, ...] | None:
    """The path of the first key without which `make` accepts the values; None when no single key is at fault."""
    for key, value in values.items():
        rest = {name: other for name, other in values.items() if name != key}
        try:
            make(rest)
        except Exception:      # another key is at fault, or more than this one
            continue
        inner = _fault(value, lambda part, rest=rest, key=key: make({**rest, key: part})) if isinstance(
            value, Mapping) else None
        return (key, *(inner or ()))
    return None
