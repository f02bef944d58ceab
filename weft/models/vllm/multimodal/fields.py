"""`MultiModalFieldConfig`: which part of what a processor returns belongs to which item of a prompt.

A field is batched (one entry for each item), flat (a slice for each item) or shared by all items.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NestedTensors = Any      # a tensor, or a list of nested tensors
MultiModalEmbeddings = Any
Slices = Sequence[Any]   # of slices, or of sequences of slices, one for each dimension


class BatchedField:
    """The first dimension counts items; an item's data has lost it."""

    def split(self, data: Any) -> list[Any]:
        """The data of each item."""
        return list(data)

    def reduce_data(self, elems: Sequence[MultiModalFieldElem], pin_memory: bool = False) -> Any:
        """The data of several items as the model's encoder is given them."""
        parts = [elem.data for elem in elems]
        same = all(isinstance(part, Tensor) and part.shape == parts[0].shape for part in parts)
        return torch.stack(parts) if same else parts


@dataclass(frozen=True)
class FlatField:
    """An item has the entries of a slice. dim: the dimension that is sliced, of tensors."""

    slices: Slices
    dim: int = 0

    def split(self, data: Any) -> list[Any]:
        """The data of each item."""
        before = (slice(None),) * self.dim
        found = []
        for each in self.slices:
            wanted = (*before, each) if isinstance(each, slice) else tuple(each)
            found.append(data[wanted] if isinstance(data, Tensor) else data[wanted[-1]])
        return found

    def reduce_data(self, elems: Sequence[MultiModalFieldElem], pin_memory: bool = False) -> Any:
        """As BatchedField."""
        parts = [elem.data for elem in elems]
        if len(parts) == 1:
            return parts[0]
        if all(isinstance(part, Tensor) for part in parts):
            same = all(part.shape[:self.dim] + part.shape[self.dim + 1 :] ==
                       parts[0].shape[:self.dim] + parts[0].shape[self.dim + 1 :] for part in parts)
            return torch.cat(parts, dim=self.dim) if same else parts
        return [entry for part in parts for entry in part]


@dataclass(frozen=True)
class SharedField:
    """Each of `batch_size` items has all of the data."""

    batch_size: int

    def split(self, data: Any) -> list[Any]:
        """The data of each item."""
        return [data] * self.batch_size

    def reduce_data(self, elems: Sequence[MultiModalFieldElem], pin_memory: bool = False) -> Any:
        """As BatchedField."""
        return elems[0].data


@dataclass(eq=False)
class MultiModalFieldElem:
    """What one item has under one key. modality, key: "" where the item is made without them."""

    data: Any
    field: Any
    modality: str = ""
    key: str = ""


@dataclass(frozen=True)
class MultiModalFieldConfig:
    """The field of a key, and the modality of its items."""

    field: Any
    modality: str

    @staticmethod
    def batched(modality: str, *, keep_on_cpu: bool = False) -> MultiModalFieldConfig:
        """One entry for each item."""
        return MultiModalFieldConfig(BatchedField(), modality)

    @staticmethod
    def flat(modality: str, slices: Slices, dim: int = 0, *, keep_on_cpu: bool = False) -> MultiModalFieldConfig:
        """A slice for each item."""
        return MultiModalFieldConfig(FlatField(slices, dim), modality)

    @staticmethod
    def flat_from_sizes(modality: str, size_per_item: Any, dim: int = 0, *, keep_on_cpu: bool = False
                        ) -> MultiModalFieldConfig:
        """So many entries for each item, one item after another."""
        ends = torch.as_tensor(size_per_item).flatten().cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        return MultiModalFieldConfig.flat(modality, [slice(*pair) for pair in zip(starts, ends, strict=True)], dim)

    @staticmethod
    def shared(modality: str, batch_size: int, *, keep_on_cpu: bool = False) -> MultiModalFieldConfig:
        """All of the data for each item."""
        return MultiModalFieldConfig(SharedField(batch_size), modality)

    def build_elems(self, key: str, batch: Any) -> list[MultiModalFieldElem]:
        """The data of each item."""
        return [MultiModalFieldElem(_number(data), self.field, self.modality, key) for data in self.field.split(batch)]


def _number(data: Any) -> Any:
    return torch.tensor(data) if isinstance(data, bool | int | float) else data


class MultiModalKwargsItem(UserDict[str, MultiModalFieldElem]):
    """One item: {key: its data}."""

    @staticmethod
    def from_elems(elems: Iterable[MultiModalFieldElem]) -> MultiModalKwargsItem:
        """Of elements that have keys."""
        return MultiModalKwargsItem({elem.key: elem for elem in elems})

    @property
    def modality(self) -> str:
        """Of its elements."""
        return next(iter(self.values())).modality

    def get_data(self) -> dict[str, Any]:
        """{key: data}."""
        return {key: elem.data for key, elem in self.items()}

    def reduced(self) -> dict[str, Any]:
        """{key: data} as the model's encoder is given them for this item alone."""
        return {key: elem.field.reduce_data([elem]) for key, elem in self.items()}


class MultiModalKwargsItems(UserDict[str, Sequence[MultiModalKwargsItem]]):
    """The items of a prompt by modality. A key of the processor's gives the data of all items (generation g1)."""

    @staticmethod
    def from_hf_inputs(hf_inputs: Mapping[str, Any], config_by_key: Mapping[str, MultiModalFieldConfig]
                       ) -> MultiModalKwargsItems:
        """What a processor returned, by item. ValueError when the keys of a modality tell different numbers of items.
        """
        found: dict[str, list[MultiModalKwargsItem]] = {}
        for key, config in config_by_key.items():
            batch = hf_inputs.get(key)
            if batch is None:
                continue
            elems = config.build_elems(key, batch)
            items = found.setdefault(config.modality, [MultiModalKwargsItem() for _ in elems])
            if len(items) != len(elems):
                raise ValueError(f"{key} has {len(elems)} {config.modality} items, the keys before it {len(items)}")
            for item, elem in zip(items, elems, strict=True):
                item[key] = elem
        return MultiModalKwargsItems(found)

    @staticmethod
    def from_seq(items: Sequence[MultiModalKwargsItem]) -> MultiModalKwargsItems:
        """By the items' modalities."""
        found: dict[str, list[MultiModalKwargsItem]] = {}
        for item in items:
            found.setdefault(item.modality, []).append(item)
        return MultiModalKwargsItems(found)

    from_items = from_seq

    def __missing__(self, key: str) -> Any:
        elems = [item[key] for items in self.data.values() for item in items if key in item]
        if not elems:
            raise KeyError(key)
        return elems[0].field.reduce_data(elems)

    def __contains__(self, key: object) -> bool:
        return key in self.data or any(key in item for items in self.data.values() for item in items)

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dictionary."""
        try:
            return self[key]
        except KeyError:
            return default

    def get_data(self, **options: Any) -> dict[str, Any]:
        """{key: data of all items}. options: of devices and pinned memory, which change nothing here."""
        keys = dict.fromkeys(key for items in self.data.values() for item in items for key in item)
        return {key: self[key] for key in keys}

    def get_items(self, modality: str) -> Sequence[MultiModalKwargsItem]:
        """The items of a modality."""
        return self.data[modality]

    def get_item(self, modality: str, item_index: int) -> MultiModalKwargsItem:
        """One item."""
        return self.data[modality][item_index]

    def get_item_count(self, modality: str) -> int:
        """Items of a modality."""
        return len(self.data.get(modality, ()))

    def require_data(self) -> MultiModalKwargsItems:
        """Itself: no item's data are kept elsewhere."""
        return self


@dataclass(frozen=True, eq=False)
class PlaceholderRange:
    """Tokens of a prompt that an item takes. is_embed: [length] bool, which of them get rows; None: all."""

    offset: int
    length: int
    is_embed: Tensor | None = None

    def places(self) -> list[int]:
        """The places in the prompt that get rows."""
        all_places = range(self.offset, self.offset + self.length)
        if self.is_embed is None:
            return list(all_places)
        return [place for place, marked in zip(all_places, self.is_embed.tolist(), strict=True) if marked]

    def get_num_embeds(self) -> int:
        """Tokens that get rows."""
        return self.length if self.is_embed is None else int(self.is_embed.sum())


@dataclass(eq=False)
class MultiModalFeatureSpec:
    """An item of a prompt. data: its MultiModalKwargsItem; mm_position: its place."""

    data: Any
    modality: str
    identifier: str
    mm_position: PlaceholderRange
    mm_hash: str | None = None


def tensors_of(item: MultiModalKwargsItem) -> dict[str, Tensor]:
    """An item as tensors by name: `x[]` of a batched field, else `x`; entries of a list are `x#0`, `x#1`.

    TypeError for what is neither tensors, numbers nor lists of them.
    """
    found: dict[str, Tensor] = {}
    for key, elem in item.items():
        _flatten(f"{key}[]" if isinstance(elem.field, BatchedField) else key, elem.data, found)
    return found


def item_of(kind: str, tensors: Mapping[str, Tensor]) -> MultiModalKwargsItem:
    """The item of `tensors_of`; numbers have become tensors, slices are no longer known."""
    nested: dict[str, Any] = {}
    for name, tensor in tensors.items():
        key, *places = name.split("#")
        if not places:
            nested[key] = tensor
            continue
        entries = nested.setdefault(key, [])
        for place in places[:-1]:
            entries.extend([] for _ in range(int(place) + 1 - len(entries)))
            entries = entries[int(place)]
        entries.append(tensor)
    return MultiModalKwargsItem.from_elems(
        MultiModalFieldElem(data, BatchedField() if key.endswith("[]") else FlatField(()), kind,
                            key.removesuffix("[]")) for key, data in nested.items())


def _flatten(name: str, value: Any, found: dict[str, Tensor]) -> None:
    if isinstance(value, Tensor):
        found[name] = value
    elif isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            _flatten(f"{name}#{i}", _number(entry), found)
    else:
        raise TypeError(f"{name} of a media item is {type(value).__name__}, expected tensors, numbers or lists of them")
