"""`split_items`: what a processor made of all images of a prompt, as items of one image each where that is possible.

Items of their own are shared between requests. Images whose tensors cannot be taken apart stay one item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from weft.media.item import MediaItem, content_digest, named_digest, spans_of


def split_items(kind: str, places: Sequence[int], counts: Sequence[int] | None, tensors: Mapping[str, Tensor], *,
                num: int, uuids: Sequence[str | None], content: str) -> list[MediaItem]:
    """The items of a prompt.

    places: of all rows in the prompt. counts: rows of each item; None: unknown. num: the number of items.
    uuids: names that the client gave them. content: what an item's rows depend on besides, as text.
    """
    if counts is None and num > 1:
        runs = spans_of(list(places))
        counts = [end - first for first, end in runs] if len(runs) == num else None
    parts = None
    if num == 1:
        counts, parts = [len(places)], [dict(tensors)]
    elif counts is not None and sum(counts) == len(places) and min(counts) > 0:
        parts = _parts(tensors, counts)
    if counts is None or parts is None:
        name = None if None in uuids else "|".join(f"{len(uuid or '')}:{uuid}" for uuid in uuids)
        counts, parts, uuids = [len(places)], [dict(tensors)], [name]
    items, first = [], 0
    for count, part, uuid in zip(counts, parts, uuids, strict=True):
        digest = content_digest(kind, part) if uuid is None else named_digest(kind, uuid, f"{content}|{count}")
        items.append(MediaItem(kind=kind, digest=digest, tensors=part,
                               spans=spans_of(list(places[first : first + count]))))
        first += count
    return items


def _parts(tensors: Mapping[str, Tensor], counts: Sequence[int]) -> list[dict[str, Tensor]] | None:
    """Each item's tensors; None: they cannot be told apart.

    A tensor's first dimension counts items, or something of which an item has as many as it has rows (patches).
    """
    parts: list[dict[str, Tensor]] = [{} for _ in counts]
    for name, tensor in tensors.items():
        sizes = _sizes(tensor, counts)
        if sizes is None:
            return None
        for part, piece in zip(parts, tensor.split(sizes), strict=True):
            part[name] = piece
    return parts


def _sizes(tensor: Tensor, counts: Sequence[int]) -> list[int] | None:
    length, total = (tensor.shape[0] if tensor.dim() else 0), sum(counts)
    if length == len(counts):
        return [1] * length
    if length and all(count * length % total == 0 for count in counts):
        return [count * length // total for count in counts]
    return None
