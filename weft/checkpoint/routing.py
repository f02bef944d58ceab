"""Maps a checkpoint's tensor names to the model's homes (part names) by a family's NameMap, and splits fused tensors.

Knows names and shapes; reads no file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weft.architectures.names import (
    ChannelKernels,
    Flattened,
    GroupedQKV,
    HeadMatrices,
    HeadRows,
    Layout,
    NameMap,
    NegatedExp,
    PaddedHeads,
    PairedRows,
    Plain,
    Rule,
    Scaled,
    Shifted,
    SingleRow,
    Stacked,
    VectorAsRow,
)
from weft.ops.quantized import QuantizedWeight

_NUMBER = re.compile(r"\d+")
_PLACE = re.compile(r"\{[a-z]+\}|\d+")
_SUFFIXES = (".weight", ".bias")
_OLD_SUFFIXES = {".gamma": ".weight", ".beta": ".bias"}      # norms of checkpoints converted from TensorFlow (BERT)


@dataclass(frozen=True, slots=True)
class Route:
    """The homes of one tensor, in the order of its rows, and how it is stored."""

    homes: tuple[str, ...]
    layout: Layout


class Router:
    """Finds the rule for a tensor name. Rules are looked up by the name with each number replaced by a mark."""

    def __init__(self, names: NameMap) -> None:
        self._prefix, self._ignored_prefixes = names.optional_prefix, names.ignored_prefixes
        self._rules: dict[str, list[Rule]] = {}
        self._sources: dict[str, list[Rule]] = {}
        self._ignored: dict[str, list[str]] = {}
        for rule in names.rules:
            self._rules.setdefault(_mark(rule.source), []).append(rule)
            for target in rule.targets:
                self._sources.setdefault(_mark(target), []).append(rule)
        for pattern in names.ignored:
            self._ignored.setdefault(_mark(pattern), []).append(pattern)

    def route(self, name: str) -> Route | None:
        """The route of a tensor to its homes, or None when no rule fits.

        A rule wins over a name that is ignored, but over an ignored prefix only if its source has that prefix itself:
        `cls.predictions.decoder` below `cls.`, not `model.layers.{i}.mlp` below `model.layers.61.`.
        """
        is_below = name.startswith(self._ignored_prefixes)
        for full in self._spellings(name):
            for stem, suffix in ((full, ""), split_suffix(full)):      # a source may include the suffix
                for rule in self._rules.get(_mark(stem), ()):
                    if is_below and not f"{rule.source}.".startswith(self._ignored_prefixes):
                        continue
                    numbers = _match(rule.source, stem)
                    if numbers is not None:
                        return Route(tuple(_fill(target, numbers) + suffix for target in rule.targets), rule.layout)
        return None

    def is_ignored(self, name: str) -> bool:
        """True for a tensor that need not be loaded."""
        return name.startswith(self._ignored_prefixes) or any(
                   _match(pattern, text) is not None
                   for full in self._spellings(name) for text in (full, split_suffix(full)[0])
                   for pattern in self._ignored.get(_mark(text), ()))

    def sources_of(self, home: str) -> tuple[str, ...]:
        """Names of the tensors that would fill a home."""
        found = []
        for stem, suffix in (split_suffix(home), (home, "")):      # a target may include the suffix: `mixer.dt.bias`
            for rule in self._sources.get(_mark(stem), ()):
                for target in rule.targets:
                    numbers = _match(target, stem)
                    if numbers is not None:
                        found.append(_fill(rule.source, numbers) + suffix)
        return tuple(dict.fromkeys(found))

    def _spellings(self, name: str) -> tuple[str, ...]:
        names = (name, *(name.removesuffix(old) + new for old, new in _OLD_SUFFIXES.items() if name.endswith(old)))
        return (*names, *(self._prefix + name for name in names)) if self._prefix else names


def split_suffix(name: str) -> tuple[str, str]:
    """("a.b", ".weight") for "a.b.weight"; (name, "") when the name ends in neither .weight nor .bias."""
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix), suffix
    return name, ""


def matches(pattern: str, stem: str) -> bool:
    """True when a stem matches a pattern of names.py."""
    return _mark(pattern) == _mark(stem) and _match(pattern, stem) is not None


def take_apart(layout: Layout, tensor: Tensor, num_rows: Sequence[int]) -> list[Tensor]:
    """The parts of a tensor for its homes, in order; views where the layout allows it.

    num_rows: first dimension of each home. ValueError says why the tensor does not fit the layout.
    """
    match layout:
        case Plain():
            return _rows(tensor.t() if layout.transposed and tensor.dim() == 2 else tensor, num_rows)
        case GroupedQKV():
            return _groups(layout, tensor)
        case HeadRows():
            return _heads(layout, tensor)
        case HeadMatrices(transposed=transposed):
            return [_below_each_other(tensor, transposed=transposed)]
        case PairedRows(num_heads=num_heads):
            return [_halves(tensor, num_heads)]
        case Stacked():
            return _entries(layout, tensor, len(num_rows))
        case PaddedHeads():
            return [_padded_heads(layout, tensor)]
        case Shifted(by=by):
            return [tensor - by]
        case Scaled():
            return [_scaled(layout, tensor)]
        case SingleRow():
            return [tensor.unsqueeze(0)] if tensor.dim() == 1 else [tensor]
        case VectorAsRow():
            return [tensor.squeeze(0)] if tensor.dim() == 2 else [tensor]
        case ChannelKernels():
            return _rows(tensor.squeeze(1) if tensor.dim() == 3 else tensor, num_rows)
        case NegatedExp(is_vector=is_vector):
            return [(-tensor.flatten() if is_vector else -tensor).log()]
        case Flattened():
            return [tensor.flatten()]


def put_together(layout: Layout, parts: Sequence[Tensor]) -> Tensor:
    """The tensor that `take_apart` makes these parts of. ValueError for a layout that no Hugging Face file has."""
    match layout:
        case Plain():
            whole = parts[0] if len(parts) == 1 else torch.cat(list(parts))
            return whole.t() if layout.transposed and whole.dim() == 2 else whole
        case GroupedQKV(num_groups=count) | HeadRows(num_heads=count):
            return torch.cat([part.unflatten(0, (count, -1)) for part in parts], dim=1).flatten(0, 1)
        case ChannelKernels():
            whole = parts[0] if len(parts) == 1 else torch.cat(list(parts))
            return whole.unsqueeze(1) if whole.dim() == 2 else whole
        case VectorAsRow():
            return parts[0].unsqueeze(0)
        case Stacked():
            return _stack(layout, parts)
        case _:
            raise ValueError(f"{type(layout).__name__} is a layout of other files than Hugging Face's")


def has_rows(layout: Layout) -> bool:
    """Whether a layout only divides and reorders rows, so that it also works for rows of integer codes."""
    changes_more = isinstance(layout, PaddedHeads | Shifted | Scaled | SingleRow | VectorAsRow | ChannelKernels
                              | NegatedExp | Flattened)
    return not changes_more and not getattr(layout, "transposed", False)


def quantized_parts(layout: Layout, weight: QuantizedWeight, shape: Sequence[int],
                    num_rows: Sequence[int]) -> list[QuantizedWeight]:
    """`take_apart` for a tensor of integer codes. shape: the tensor's shape in its file.

    ValueError for a layout without `has_rows`, and for rows that do not fit.
    """
    if not has_rows(layout):
        raise ValueError(f"{type(layout).__name__} changes more than the order of rows")
    order = torch.arange(weight.shape[0]).view(tuple(shape[:-1]))
    return [weight.rows(part) for part in take_apart(layout, order, num_rows)]


def _rows(tensor: Tensor, num_rows: Sequence[int]) -> list[Tensor]:
    if len(num_rows) == 1:
        return [tensor]
    if tensor.dim() == 0 or tensor.shape[0] != sum(num_rows):
        raise ValueError(f"{'scalar' if tensor.dim() == 0 else tensor.shape[0]} rows, the model has "
                         f"{' + '.join(map(str, num_rows))}")
    return list(tensor.split(list(num_rows)))


def _groups(layout: GroupedQKV, tensor: Tensor) -> list[Tensor]:
    """q, k and v from [num_groups * (queries_per_group + 2) * D, ...]."""
    rows = layout.num_groups * (layout.queries_per_group + 2) * layout.head_dim
    if tensor.dim() == 0 or tensor.shape[0] != rows:
        raise ValueError(f"rows must be {layout.num_groups} groups x ({layout.queries_per_group} q + k + v) x "
                         f"{layout.head_dim} = {rows}")
    grouped = tensor.unflatten(0, (layout.num_groups, layout.queries_per_group + 2, layout.head_dim))
    queries = layout.queries_per_group
    return [part.flatten(0, 2) for part in grouped.split([queries, 1, 1], dim=1)]


def _heads(layout: HeadRows, tensor: Tensor) -> list[Tensor]:
    rows = layout.num_heads * sum(layout.sizes)
    if tensor.dim() == 0 or tensor.shape[0] != rows:
        raise ValueError(f"rows must be {layout.num_heads} heads x ({' + '.join(map(str, layout.sizes))}) = {rows}")
    return [part.flatten(0, 1) for part in tensor.unflatten(0, (layout.num_heads, -1)).split(layout.sizes, dim=1)]


def _below_each_other(tensor: Tensor, *, transposed: bool) -> Tensor:
    if tensor.dim() < 2:
        raise ValueError("it must be a matrix for each head")
    return (tensor.transpose(1, 2) if transposed else tensor).flatten(0, 1)


def _halves(tensor: Tensor, num_heads: int) -> Tensor:
    """Reorder the rows of each head from neighbouring pairs to two halves."""
    if tensor.dim() == 0 or tensor.shape[0] % (2 * num_heads):
        raise ValueError(f"rows must be pairs for each of {num_heads} heads")
    return tensor.unflatten(0, (num_heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _scaled(layout: Scaled, tensor: Tensor) -> Tensor:
    factors, rows = layout.factors, tensor.shape[0] if tensor.dim() else 0
    if tensor.dim() == 1 and layout.bias_factors:
        factors = layout.bias_factors
    sizes = layout.sizes or (rows,)
    if sum(sizes) != rows:
        raise ValueError(f"rows must be {' + '.join(map(str, sizes))}")
    if set(factors) == {1.0}:
        return tensor
    return torch.cat([part * factor for part, factor in zip(tensor.split(sizes), factors, strict=True)])


def _entries(layout: Stacked, tensor: Tensor, count: int) -> list[Tensor]:
    """The matrices (or vectors) of all experts; with halves gate and up of the first, then of the second …"""
    entries = count // 2 if layout.halves else count
    if layout.flat and tensor.dim() == 2 and tensor.shape[0] % entries == 0:
        tensor = tensor.unflatten(0, (entries, -1))
    if tensor.dim() == 0 or tensor.shape[0] != entries:
        raise ValueError(f"{'scalar' if tensor.dim() == 0 else tensor.shape[0]} entries, the model has {entries}")
    if layout.transposed and tensor.dim() == 3:
        tensor = tensor.transpose(1, 2)
    if not layout.halves:
        return list(tensor.unbind(0))
    if tensor.dim() < 2 or tensor.shape[1] % 2:
        raise ValueError("each entry must have the rows of two matrices")
    rows = tensor.unflatten(1, (-1, 2)).transpose(1, 2) if layout.interleaved else tensor.unflatten(1, (2, -1))
    return list(rows.flatten(0, 1).unbind(0))


def _padded_heads(layout: PaddedHeads, tensor: Tensor) -> Tensor:
    """The tensor with zeros after each head's values."""
    dim = tensor.dim() - 1 if layout.columns else 0
    if tensor.dim() == 0 or tensor.shape[dim] != layout.num_heads * layout.size:
        raise ValueError(f"it must have {layout.num_heads} heads of {layout.size}")
    heads = tensor.unflatten(dim, (layout.num_heads, layout.size)).movedim(dim + 1, -1) * layout.factor
    heads = torch.nn.functional.pad(heads, (0, layout.padded - layout.size))
    return heads.movedim(-1, dim + 1).flatten(dim, dim + 1).contiguous()


def _stack(layout: Stacked, parts: Sequence[Tensor]) -> Tensor:
    """The tensor that `_entries` takes apart."""
    whole = torch.stack(list(parts))
    if layout.halves:
        rows = whole.unflatten(0, (-1, 2))                                                        # [X, 2, F, ...]
        whole = (rows.transpose(1, 2) if layout.interleaved else rows).flatten(1, 2)
    whole = whole.transpose(1, 2).contiguous() if layout.transposed and whole.dim() == 3 else whole
    return whole.flatten(0, 1) if layout.flat else whole


def _mark(name: str) -> str:
    return _PLACE.sub("#", name)


def _match(pattern: str, text: str) -> dict[str, str] | None:
    """{"{i}": "12", ...} if `text`, with equal `_mark`, has the pattern's fixed numbers; else None."""
    numbers: dict[str, str] = {}
    for place, number in zip(_PLACE.findall(pattern), _NUMBER.findall(text), strict=True):
        if place != number and (not place.startswith("{") or numbers.setdefault(place, number) != number):
            return None
    return numbers


def _fill(pattern: str, numbers: dict[str, str]) -> str:
    return _PLACE.sub(lambda place: numbers.get(place.group(), place.group()), pattern)
