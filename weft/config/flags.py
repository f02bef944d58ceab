"""Makes command-line flags from the fields of a dataclass, which give type and default; help texts are added.

A flag that is not given sets no attribute, so that the dataclass's default holds. This module knows no dataclass by
name.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)([kKmMgGtT]?)")
_FACTORS = {"": 1} | {
    letter: base ** power
    for power, letters in enumerate(("kK", "mM", "gG", "tT"), start=1)
    for letter, base in zip(letters, (1000, 1024), strict=True)
}


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merges two objects, also nested ones; `above` wins."""
    both = [key for key in above if isinstance(above[key], dict) and isinstance(below.get(key), dict)]
    return {**below, **above, **{key: merge(below[key], above[key]) for key in both}}


def human_int(text: str) -> int:
    """A whole number: `4096`, `1k` = 1000, `1K` = 1024, `25.6k` = 25600, and so on with m, g and t."""
    match = _NUMBER.fullmatch(text.strip().replace("_", ""))
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a whole number such as 4096, 4k or 4K, got {text!r}")
    digits, _, decimals = match[1].partition(".")
    scaled = int(digits + decimals) * _FACTORS[match[2]]
    if scaled % 10 ** len(decimals):
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return scaled // 10 ** len(decimals)


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in `text`; ArgumentTypeError for anything else."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text!r} ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got {text!r}")
    return value


def json_or_text(text: str) -> Any:
    """`text` parsed as JSON, or `text` itself if it is no JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


_KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (human_int, "N"), "float": (float, "X"), "str": (str, "TEXT"), "dict[str, Any]": (json_object, "JSON"),
}


class MergeAction(argparse.Action):
    """Merges JSON objects given several times; later keys win. Any other value replaces the earlier one."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        before = getattr(namespace, self.dest, None)
        if isinstance(before, dict) and isinstance(values, dict):
            values = merge(before, values)
        setattr(namespace, self.dest, values)


class ListAction(argparse.Action):
    """`--x a b`, `--x a --x b` and `--x '["a", "b"]'` all give ("a", "b")."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        added: list[str] = []
        for value in values:
            added += _json_list(value) if value.startswith("[") else [value]
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), *added))


def add_fields(group: Any, cls: type, helps: Mapping[str, str], short: Mapping[str, str] | None = None) -> None:
    """Adds a flag to a parser or group for each field in `helps`. helps: {field: help}. short: {field: short flag}."""
    by_name = {f.name: f for f in fields(cls)}
    for name, text in helps.items():
        flags = [flag for flag in ((short or {}).get(name), "--" + name.replace("_", "-")) if flag]
        group.add_argument(*flags, dest=name, default=argparse.SUPPRESS,
                           help=text + _default(by_name[name]), **_shape(by_name[name]))


def given(options: argparse.Namespace, cls: type) -> dict[str, Any]:
    """{field: value} of the flags on the command line."""
    return {f.name: getattr(options, f.name) for f in fields(cls) if hasattr(options, f.name)}


def _shape(f: Field[Any]) -> dict[str, Any]:
    kind = str(f.type).split(" | ")[0]
    if kind == "bool":
        return {"action": argparse.BooleanOptionalAction}
    if kind.startswith("tuple"):
        return {"nargs": "+", "action": ListAction, "metavar": "TEXT"}
    convert, metavar = _KINDS[kind]
    action = {"action": MergeAction} if convert is json_object else {}
    return {"type": convert, "metavar": metavar, **action}


def default_of(f: Field[Any]) -> Any:
    """The default of a dataclass's field."""
    return f.default if f.default_factory is MISSING else f.default_factory()


def _default(f: Field[Any]) -> str:
    value = default_of(f)
    if value in (None, "", (), {}) or value is False:
        return ""
    return f" (default: {'on' if value is True else ' '.join(value) if isinstance(value, tuple) else value})"


def _json_list(text: str) -> list[str]:
    try:
        return [str(item) for item in json.loads(text)]
    except json.JSONDecodeError:
        return [text]
