"""Lists the values of a `ModelSpec` that are not the defaults of its parts, for `weft inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from weft.architectures.spec import ModelSpec
from weft.architectures.words import patterns


@dataclass(frozen=True, slots=True)
class Difference:
    """One part of a model. place: where it is, as `blocks.0-27.mixer.positions`; kind: the name of its class.

    values: {field: value} of the fields whose value is not the default; fields without a default are always there.
    """

    place: str
    kind: str
    values: dict[str, Any]


def differences(spec: ModelSpec) -> list[Difference]:
    """All parts of a model, the whole first, then embedding, blocks and ends. Equal blocks are one."""
    found = list(_of("", spec, leave_out=("blocks",)))
    blocks = [entry for layers, block in patterns(spec.blocks) for entry in _of(f"blocks.{layers}", block)]
    ends = next((i for i, entry in enumerate(found) if entry.place.startswith(("final_norm", "head"))), len(found))
    return found[:ends] + blocks + found[ends:]


def _of(place: str, part: Any, *, leave_out: tuple[str, ...] = ()) -> Iterator[Difference]:
    values: dict[str, Any] = {}
    below: list[tuple[str, Any]] = []
    for field in fields(part):
        value = getattr(part, field.name)
        if not field.repr or field.name in leave_out or (field.default is not MISSING and value == field.default):
            continue
        if is_dataclass(value):
            below.append((f"{place}.{field.name}" if place else field.name, value))
        else:
            values[field.name] = value
    yield Difference(place or "model", type(part).__name__, values)
    for name, value in below:
        yield from _of(name, value)
