"""From parts found for several configs to one expression of their keys that makes them all."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from weft.architectures.part import Part
from weft.architectures.spec import Rope
from weft.discover.code import Call, Choice, Node
from weft.discover.expressions import Expressions, Sample, equal
from weft.discover.no_part import NoPartError


def expression(place: str, samples: list[Sample], values: list[Any], pool: Expressions) -> Node:
    """The expression whose value for each sample is as wanted. place: of the values, for errors.

    NoPartError when no keys of the config say when the value is which.
    """
    first = values[0]
    if all(isinstance(x, Part) and type(x) is type(first) for x in values) and not isinstance(first, Rope):
        return _part(place, samples, values, pool)
    if not any(isinstance(x, Part) for x in values) or all(isinstance(x, Rope) for x in values):
        found = _plain(samples, values, pool)
        if found is not None:
            return found
    kinds = [_kind(x) for x in values]
    if len(set(kinds)) > 1:
        test = _splitting(samples, [kind == kinds[0] for kind in kinds], pool)
        if test is not None:
            sides = [(s, x, kind == kinds[0]) for s, x, kind in zip(samples, values, kinds, strict=True)]
            halves = [[(s, x) for s, x, side in sides if side is wanted] for wanted in (True, False)]
            return _choice(test, [expression(place, [s for s, _ in half], [x for _, x in half], pool)
                                  for half in halves])
    found = _divided(samples, values, pool, 2)
    if found is not None:
        return found
    shown = ", ".join(dict.fromkeys(x.describe() if isinstance(x, Part) else repr(x) for x in values))
    raise NoPartError(place, f"keys of the config that say when its value is which of {shown}")


def _divided(samples: list[Sample], values: list[Any], pool: Expressions, depth: int) -> Node | None:
    """A choice between plain expressions, or between one and another choice."""
    waiting = []
    for test, sides in pool.conditions(samples):
        halves = [[(s, x) for s, x, side in zip(samples, values, sides, strict=True) if side is wanted]
                  for wanted in (True, False)]
        found: list[Any] = [_plain([s for s, _ in half], [x for _, x in half], pool) for half in halves]
        if None not in found:
            return _choice(test, found)
        if found != [None, None]:
            waiting.append((test, found, halves))
    for test, found, halves in waiting[:12] if depth > 1 else ():
        place = found.index(None)
        inner = _divided([s for s, _ in halves[place]], [x for _, x in halves[place]], pool, depth - 1)
        if inner is not None:
            found[place] = inner
            return _choice(test, found)
    return None


def _choice(test: str, sides: list[Any]) -> Choice:
    if test.startswith("not "):
        return Choice(test.removeprefix("not "), sides[1], sides[0])
    return Choice(test, sides[0], sides[1])


def _splitting(samples: list[Sample], sides: list[bool], pool: Expressions) -> str | None:
    """A condition that is true where `sides` is, or false there."""
    for test, found in pool.conditions(samples):
        if found == sides:
            return test
    return next((f"not {test}" for test, found in pool.conditions(samples)
                 if found == [not side for side in sides] and not test.startswith("not ")), None)


def _kind(value: Any) -> Any:
    return type(value).__name__ if isinstance(value, Part) else "number" if type(value) in (int, float) else value


def _plain(samples: list[Sample], values: list[Any], pool: Expressions) -> str | None:
    """A literal or one expression; None: there is none."""
    first = values[0]
    is_constant = all(equal(first, x) for x in values)
    is_named = isinstance(first, str) or (isinstance(first, float) and 0 < first < 0.1)
    if is_constant and type(first) is float:
        by_size = pool.by_size(samples, first)
        if by_size is not None:
            return by_size
    if is_constant and type(first) in (bool, float, type(None)) and not is_named:
        return _literal(first)
    found = pool.matching(samples, values)
    return _literal(first) if found is None and is_constant and not isinstance(first, Part) else found


def _literal(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}" if "." in f"{value:.10g}" or "e" in f"{value:.10g}" else f"{value:.10g}.0"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _part(place: str, samples: list[Sample], values: list[Any], pool: Expressions) -> Node:
    """A part's constructor, with the fields that are not always defaults."""
    arguments = []
    for each in fields(values[0]):
        found = [getattr(x, each.name) for x in values]
        if each.default is not MISSING and all(equal(each.default, x) for x in found):
            continue
        if isinstance(found[0], tuple):
            entries = [str(expression(f"{place}.{each.name}", samples, list(column), pool))
                       for column in zip(*found, strict=True)]
            arguments.append((each.name, f"({', '.join(entries)})"))
            continue
        arguments.append((each.name, expression(f"{place}.{each.name}", samples, found, pool)))
    return Call(type(values[0]).__name__, tuple(arguments))
