"""Shortens long lists of tensor names: names that differ only in numbers become one line with ranges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from math import prod
from pathlib import Path

_NUMBER = re.compile(r"\d+")
_MAX_FILES = 2


@dataclass(frozen=True, slots=True)
class Group:
    """Names of one pattern that share a description. ranges: the values of each number in the pattern."""

    pattern: str
    first: str
    ranges: tuple[tuple[int, ...], ...]
    description: str
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """blocks.{0..27}.mixer.q.weight"""
        return _fill(self.pattern, self.ranges)

    def renamed(self, other: str) -> str:
        """The name `other`, which belongs to `first`, with this group's ranges in place of the numbers of `first`."""
        own = list(zip(_NUMBER.findall(self.first), map(_range, self.ranges), strict=True))

        def shown(number: re.Match[str]) -> str:
            return own.pop(0)[1] if own and own[0][0] == number.group() else number.group()

        return _NUMBER.sub(shown, other)

    def __str__(self) -> str:
        where = ""
        if self.files:
            more = f" and {len(self.files) - _MAX_FILES} more" if len(self.files) > _MAX_FILES else ""
            where = f" in {', '.join(self.files[:_MAX_FILES])}{more}"
        return f"  {self.name}  {self.description}{where}"


def pattern_of(name: str) -> str:
    """The name with {i} for each number between dots."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "{i}", name)


def group_names(entries: Iterable[tuple[str, str, Path | None]]) -> list[Group]:
    """Groups of (name, description, file) in the order of their first name."""
    found: dict[tuple[str, str], list[tuple[str, Path | None]]] = {}
    for name, description, file in entries:
        found.setdefault((_NUMBER.sub("#", name), description), []).append((name, file))
    return [group for (_, description), members in found.items() for group in _groups(members, description)]


def _groups(members: list[tuple[str, Path | None]], description: str) -> Iterator[Group]:
    """One group if the numbers are all combinations of their values, else groups by the first number that varies."""
    names = [name for name, _ in members]
    numbers = [tuple(map(int, _NUMBER.findall(name))) for name in names]
    ranges = tuple(tuple(sorted(set(values))) for values in zip(*numbers, strict=True))
    if prod(len(values) for values in ranges) == len(set(numbers)) or not ranges:
        files = tuple(dict.fromkeys(file.name for _, file in members if file is not None))
        yield Group(pattern_of(names[0]), names[0], ranges, description, files)
        return
    varying = next(i for i, values in enumerate(ranges) if len(values) > 1)
    ordered = sorted(zip(numbers, members, strict=True), key=lambda pair: pair[0][varying])
    for _, part in groupby(ordered, key=lambda pair: pair[0][varying]):
        yield from _groups([member for _, member in part], description)


def _fill(pattern: str, ranges: tuple[tuple[int, ...], ...]) -> str:
    values = iter(ranges)
    return re.sub(r"\{i\}|\d+", lambda _: _range(next(values)), pattern)


def _range(values: tuple[int, ...]) -> str:
    """The values as `{0..27}`, `{0,2,5..7}`, or a single number."""
    if len(values) == 1:
        return str(values[0])
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return "{" + ",".join(str(a) if a == b else f"{a}..{b}" for a, b in runs) + "}"
