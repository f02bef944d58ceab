"""`MediaItem`: a media item of a prompt, ready for the model's encoder; `ProcessedPrompt`: a prompt with its items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MediaItem:
    """An image, or several that only together can be encoded.

    kind: "image". digest: 32 bytes; items with equal digests have equal rows.
    spans: [first, end) of the prompt's tokens in whose places the encoder's rows go, in order.
    tensors: the encoder's arguments by name.
    """

    kind: str
    digest: bytes
    spans: tuple[tuple[int, int], ...]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class ProcessedPrompt:
    """token_ids: with the tokens that stand for the items' rows. items: in the order of their places."""

    token_ids: list[int]
    items: list[MediaItem]


def content_digest(kind: str, tensors: Mapping[str, Tensor]) -> bytes:
    """sha256 of what an encoder takes."""
    found = sha256(kind.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(f"|{name}:{tensor.dtype}:{list(tensor.shape)}|".encode())
        if tensor.numel():
            found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.digest()


def named_digest(kind: str, uuid: str, content: str) -> bytes:
    """sha256 of the name that a client gave an item. content: what else its rows depend on, as text."""
    return sha256(f"uuid|{kind}|{len(uuid)}|{uuid}|{content}".encode("utf-8", "surrogatepass")).digest()


def spans_of(places: list[int]) -> tuple[tuple[int, int], ...]:
    """Ascending places as [first, end) of those that follow each other."""
    spans: list[tuple[int, int]] = []
    for place in places:
        if spans and spans[-1][1] == place:
            spans[-1] = (spans[-1][0], place + 1)
        else:
            spans.append((place, place + 1))
    return tuple(spans)
