"""`Part` and `@part`: a part of a model description is a frozen dataclass of plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


class Part:
    """Base class of all parts, without members: it marks a class as a part."""

    __slots__ = ()


@dataclass_transform(frozen_default=True, kw_only_default=True)
def part(cls: type[T]) -> type[T]:
    """Class decorator: makes a frozen, keyword-only dataclass with slots."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)
