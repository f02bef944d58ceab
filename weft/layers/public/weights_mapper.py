"""`WeightsMapper`: rules, as data, from a checkpoint's tensor names to a model's. Names and arguments are vLLM's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from weft.layers.public.layer import Part, with_shard
from weft.layers.public.stored_tensor import leave_out

_Value = TypeVar("_Value")
Names = Mapping[str, str | None]


@dataclass(frozen=True)
class WeightsMapper:
    """Renames by each kind of rule, in this order: regular expressions, substrings, stacked parts, prefixes, suffixes.

    A rule that leads to None drops the tensor. Rules of a kind follow each other: each that fits changes one place of
    the name that the rule before made. Of the stacked parts only the first that fits counts.
    orig_to_new_stacked: {substring: (new substring, shard id)}, for tensors that are a part of a fused parameter.
    """

    orig_to_new_regex: Mapping[str | re.Pattern[str], str | None] = field(default_factory=dict)
    orig_to_new_substr: Names = field(default_factory=dict)
    orig_to_new_stacked: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    orig_to_new_prefix: Names = field(default_factory=dict)
    orig_to_new_suffix: Names = field(default_factory=dict)

    def __or__(self, other: WeightsMapper) -> WeightsMapper:
        """The rules of both; of equal keys, the other's."""
        return WeightsMapper(**{name: {**getattr(self, name), **getattr(other, name)} for name in vars(self)})

    def apply(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """(new name, tensor) of the tensors that are not dropped. A part of a fused parameter knows its shard id."""
        for name, tensor in weights:
            new, part = self.map(name)
            if new is None:
                leave_out(tensor)
            else:
                yield new, tensor if part is None else with_shard(tensor, part)

    def apply_list(self, values: list[str]) -> list[str]:
        """The new names of those that are not dropped."""
        return [new for value in values if (new := self.map(value)[0]) is not None]

    def apply_dict(self, values: Mapping[str, _Value]) -> dict[str, _Value]:
        """The values under their new names."""
        return {new: value for name, value in values.items() if (new := self.map(name)[0]) is not None}

    def map(self, name: str) -> tuple[str | None, Part]:
        """(new name, shard id) of one name; (None, None): dropped. shard id None: the tensor is no part."""
        for pattern, new in self.orig_to_new_regex.items():
            if re.search(pattern, name):
                if new is None:
                    return None, None
                name = re.sub(pattern, new, name)
        for old, new in self.orig_to_new_substr.items():
            if old in name:
                if new is None:
                    return None, None
                name = name.replace(old, new, 1)
        name, part = self._stacked(name)
        for old, new in self.orig_to_new_prefix.items():
            if name.startswith(old):
                if new is None:
                    return None, None
                name = new + name.removeprefix(old)
        for old, new in self.orig_to_new_suffix.items():
            if name.endswith(old):
                if new is None:
                    return None, None
                name = name.removesuffix(old) + new
        return name, part

    def _map_name(self, key: str) -> str | None:
        """The new name alone; model files of others call it by this name."""
        return self.map(key)[0]

    def _stacked(self, name: str) -> tuple[str, Part]:
        for old, (new, part) in self.orig_to_new_stacked.items():
            if old in name:
                return name.replace(old, new, 1), part
        return name, None
