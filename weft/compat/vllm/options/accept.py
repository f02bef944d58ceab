"""`accept`: options as the user gave them, in vLLM's words, become options of weft."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

from weft.compat.vllm.options.row import REFUSED, SAME, Option
from weft.errors import ConfigError, NotBuiltError, nearest

logger = logging.getLogger("weft")


def accept(rows: Mapping[str, Option], given: Mapping[str, Any], *, known: Collection[str]) -> dict[str, Any]:
    """`given` without what has no meaning here, and with weft's names and values.

    known: names that weft itself has, whether vLLM has them or not.
    Raises TypeError for a name that neither knows, NotBuiltError for a value that weft cannot honour, ConfigError for
    two options that contradict each other. A value without effect is told in one log line a process.
    """
    refuse_unknown(given, {*known, *rows})
    chosen: dict[str, Any] = {}
    asked: dict[str, str] = {}      # name of a chosen option -> the given name that it comes from
    for name, value in sorted(given.items(), key=lambda item: item[0] not in known):      # weft's own names first
        for key, new in _accepted(rows, name, value).items():
            if key in chosen:
                new = _joined(key, chosen[key], asked[key], name, value, new)
            chosen[key], asked[key] = new, asked.get(key, name)
    return chosen


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """TypeError for the first name that is not known, with the nearest ones that are."""
    for name in given:
        if name not in known:
            near = " or ".join(repr(found) for found in nearest(name, known, count=3))
            raise TypeError(f"unknown option {name!r}" + (f"; did you mean {near}?" if near else ""))


def _accepted(rows: Mapping[str, Option], name: str, value: Any) -> Mapping[str, Any]:
    option = rows.get(name)
    if option is None or option.state == SAME:
        return {name: value} if option is None or option.read is None or value is None else option.read(name, value)
    if option.is_off(value):
        return {}
    if option.read is not None:
        return _translated(rows, option, value)
    if option.state == REFUSED:
        expected = " or ".join([repr(off) for off in option.off] or ["None"])
        raise NotBuiltError(name, value, expected=expected, hint=option.say)
    tell(name, option.say)
    return {}


def _translated(rows: Mapping[str, Option], option: Option, value: Any) -> Mapping[str, Any]:
    assert option.read is not None
    new = option.read(option.name, value)
    for name in new:
        target = rows.get(name)
        if target is not None and target.state == REFUSED:
            raise NotBuiltError(option.name, value, expected="None", hint=f"It means `{name}`: {target.say}")
    return new


@cache
def tell(name: str, reason: str) -> None:
    """Log, once a process, that an option of vLLM has no effect."""
    logger.warning("%s has no effect: %s", name, reason)


def _joined(key: str, before: Any, by: str, name: str, value: Any, new: Any) -> Any:
    """Two values of one option: equal, or dictionaries without a field that differs."""
    if before is None or before == new or before == "auto":
        return new
    if new == "auto":
        return before
    are_objects = isinstance(before, dict) and isinstance(new, dict)
    if are_objects and all(before.get(field, value) == value for field, value in new.items()):
        return {**before, **new}
    raise ConfigError(name, value, expected=f"nothing that contradicts {by} = {before!r}",
                      hint=f"Both set `{key}`: give one of them.")
