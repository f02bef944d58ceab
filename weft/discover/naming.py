"""Names of a checkpoint's tensors, matched with a model's own by their numbers, as rules of a NameMap."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weft.architectures.names import Layout, Plain, Stacked
from weft.checkpoint.routing import split_suffix
from weft.discover.found import Taken
from weft.discover.no_part import NoPartError

Target = tuple[tuple[str, ...], Layout]


class CheckpointNames:
    """The rules of one tiny checkpoint. stored: its tensors by name."""

    def __init__(self, model: nn.Module, stored: Mapping[str, Tensor]) -> None:
        self._stored = stored
        self._own = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
        self._by_shape: dict[tuple[int, ...], list[str]] = {}
        for name, x in stored.items():
            self._by_shape.setdefault(tuple(x.shape), []).append(name)
        self.rules: dict[str, Target] = {}
        self._used: set[str] = set()

    def add(self, taken: Iterable[Taken], layer: int | None) -> None:
        """The rules of a block's tensors, or (layer None) of the whole model's. NoPartError for a tensor that the
        checkpoint has not, or in a form that no layout has.
        """
        for each in taken:
            if isinstance(each.layout, Stacked):
                self._add_experts(each, layer)
            elif each.source in self._own:
                self._add(each.source, each, layer)
            else:
                tensors = [name for name in self._own if split_suffix(name)[0] == each.source]
                for name in tensors:
                    self._add(name, each, layer)

    def unused(self) -> set[str]:
        """Stems of stored tensors that no part takes, with {i} for numbers of layers."""
        return {stem_with_index(name) for name in self._stored.keys() - self._used}

    def _add(self, name: str, each: Taken, layer: int | None) -> None:
        found = self._find(name, self._own[name])
        stem, suffix = split_suffix(found)
        targets = each.targets
        if each.source == name and suffix:                    # a tensor with a whole name of its own
            targets = tuple(target.removesuffix(suffix) for target in targets)
            stem = stem if all(target.endswith(suffix) for target in each.targets) else found
        if each.source == name and not suffix:
            stem, targets = found, each.targets
        self._set(_with_index(stem, layer), targets, each.layout, layer)

    def _find(self, name: str, x: Tensor, *, must: bool = True) -> Any:
        """The stored name of a tensor: its own, or that of equal numbers. must: an error, else None, without one."""
        if name in self._stored and torch.equal(self._stored[name], x):
            self._used.add(name)
            return name
        found = next((other for other in self._by_shape.get(tuple(x.shape), ())
                      if torch.equal(self._stored[other], x)), None)
        if found is None and not must:
            return None
        if found is None:
            raise NoPartError(name, "a layout of the form in which the checkpoint stores this tensor")
        if found in self._used:
            return name                                       # a tied head's matrix is not stored
        self._used.add(found)
        return found

    def _add_experts(self, each: Taken, layer: int | None) -> None:
        """Rules for experts' matrices, which the checkpoint has together as the model has them, or one by one."""
        whole = self._own[each.source]
        found = self._find(each.source, whole, must=False)
        if found is not None:
            stem, suffix = split_suffix(found)
            more = "" if suffix else ".bias" if whole.dim() == 2 else ".weight"
            self._set(_with_index(stem, layer), tuple(target + more for target in each.targets), each.layout, layer)
            return
        assert isinstance(each.layout, Stacked)
        turned = each.layout.transposed and whole.dim() == 3
        for expert, matrix in enumerate(whole.transpose(1, 2) if turned else whole):
            for target, rows in zip(each.targets, matrix.chunk(len(each.targets)), strict=True):
                found = next((name for name in self._by_shape.get(tuple(rows.shape), ())
                              if torch.equal(self._stored[name], rows)), None)
                if found is None:
                    raise NoPartError(each.source, "a layout of experts that are stored together")
                self._used.add(found)
                stem = _with_index(split_suffix(found)[0], layer)
                stem = re.sub(rf"\.{expert}(?=\.|$)", ".{e}", stem, count=1)
                self._set(stem, (target,), Plain(), layer)

    def _set(self, stem: str, targets: tuple[str, ...], layout: Layout, layer: int | None) -> None:
        prefix = "" if layer is None else "blocks.{i}."
        rule = tuple(prefix + target for target in targets), layout
        if self.rules.setdefault(stem, rule) != rule:
            raise NoPartError(stem, "one rule for a tensor's name in all layers")


def stem_with_index(name: str) -> str:
    """A tensor's stem with {i} for its first number."""
    return re.sub(r"\.\d+\.", ".{i}.", split_suffix(name)[0], count=1)


def _with_index(stem: str, layer: int | None) -> str:
    return stem if layer is None else re.sub(rf"\.{layer}(?=\.|$)", ".{i}", stem, count=1)
