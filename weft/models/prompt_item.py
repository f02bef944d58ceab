"""`PromptItem`: a media item of a prompt as a model's encoder of media sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PromptItem:
    """kind, spans: as MediaItem (media/item.py). tensors: the encoder's arguments by name."""

    kind: str
    spans: tuple[tuple[int, int], ...]
    tensors: Mapping[str, Tensor]


def joined(items: Iterable[PromptItem]) -> dict[str, Tensor]:
    """The encoder's arguments for all items of a prompt at once: their tensors one after another."""
    parts: dict[str, list[Tensor]] = {}
    for item in items:
        for name, tensor in item.tensors.items():
            parts.setdefault(name, []).append(tensor)
    return {name: found[0] if len(found) == 1 else torch.cat(found) for name, found in parts.items()}
