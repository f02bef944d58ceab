"""Checks the values of a part against the annotations of its fields: a mistake is one line with the possible values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from weft.errors import DescriptionError, did_you_mean

_WORDS: dict[Any, str] = {
    bool: "True or False", int: "a whole number", float: "a number", str: "a string", NoneType: "None"}


class _NotGiven:
    """Stands for a field's value in an error, where there is none."""

    def __repr__(self) -> str:
        return "not given"


def check_fields(cls: type, args: tuple[Any, ...], values: Mapping[str, Any]) -> None:
    """DescriptionError for values without a name, unknown fields and missing ones."""
    known = {field.name: field for field in fields(cls)}
    if args:
        raise DescriptionError(cls.__name__, args[0], expected=f"its fields by name: {', '.join(known)}")
    for name, value in values.items():
        if name not in known:
            raise DescriptionError(f"{cls.__name__}.{name}", value, expected=f"one of its fields: {', '.join(known)}",
                                   hint=did_you_mean(name, known))
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise DescriptionError(f"{cls.__name__}.{name}", _NotGiven(), expected=possible(_hints(cls)[name]))


def check_values(cls: type, part: Any) -> None:
    """DescriptionError for a value that is not as its field's annotation says."""
    hints = _hints(cls)
    for field in fields(cls):
        value = getattr(part, field.name)
        if not accepts(hints[field.name], value):
            raise DescriptionError(f"{cls.__name__}.{field.name}", value, expected=possible(hints[field.name]),
                                   hint=did_you_mean(repr(value), map(repr, literals(hints[field.name]))))


def accepts(hint: Any, value: Any) -> bool:
    """Whether a value is as an annotation says. An annotation that this module does not know accepts everything."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(accepts(option, value) for option in args)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if args[1:] == (...,):
            return all(accepts(args[0], item) for item in value)
        return len(value) == len(args) and all(map(accepts, args, value))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and _is_closed(hint):
        return type(value) is hint
    return not isinstance(hint, type) or isinstance(value, hint)


def possible(hint: Any) -> str:
    """What an annotation allows, in words: `head, each_head or all`."""
    words = list(dict.fromkeys(_options(hint)))
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def literals(hint: Any) -> list[str]:
    """The strings that an annotation allows."""
    if get_origin(hint) is Literal:
        return [option for option in get_args(hint) if isinstance(option, str)]
    if get_origin(hint) in (Union, UnionType):
        return [option for part in get_args(hint) for option in literals(part)]
    return []


def _options(hint: Any) -> Iterator[str]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for option in args:
            yield from _options(option)
    elif origin is Literal:
        yield from map(repr, args)
    elif origin is tuple:
        inside = possible(args[0]) if args[1:] == (...,) else ", ".join(map(possible, args))
        yield f"a tuple of {inside}"
    elif hint in _WORDS:
        yield _WORDS[hint]
    elif isinstance(hint, type):
        yield from _class_names(hint)
    else:
        yield str(hint)


def _is_closed(cls: type) -> bool:
    """True for a part whose layer a part made from it would not reach: the model makes that layer itself."""
    return "__dataclass_fields__" in vars(cls) and not vars(cls).get("is_open", False)


def _class_names(cls: type) -> Iterator[str]:
    """The class, and those below it where they may stand in its place; a mere base, such as NormSpec, is none."""
    if "__dataclass_fields__" in vars(cls) or not cls.__subclasses__():
        yield cls.__name__
    for below in () if _is_closed(cls) else cls.__subclasses__():
        yield from _class_names(below)


@cache
def _hints(cls: type) -> dict[str, Any]:
    try:
        found = get_type_hints(cls)
    except NameError as error:
        raise DescriptionError(cls.__name__, _NotGiven(), expected="annotations that name what the file has imported",
                               hint=str(error)) from error
    return {name: hint for name, hint in found.items() if get_origin(hint) is not ClassVar}
