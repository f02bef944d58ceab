"""Makes command-line flags from the fields of a dataclass, which give type and default; help texts are added.

A flag that is not given sets no attribute, so that the dataclass's default holds. This module knows no dataclass by
name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from weft.cli.parser import MergeAction, human_int, json_object

_KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (human_int, "N"), "float": (float, "X"), "str": (str, "TEXT"), "dict[str, Any]": (json_object, "JSON"),
}


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


def _default(f: Field[Any]) -> str:
    value = f.default if f.default_factory is MISSING else f.default_factory()
    if value in (None, "", (), {}) or value is False:
        return ""
    return f" (default: {'on' if value is True else ' '.join(value) if isinstance(value, tuple) else value})"


def _json_list(text: str) -> list[str]:
    try:
        return [str(item) for item in json.loads(text)]
    except json.JSONDecodeError:
        return [text]
