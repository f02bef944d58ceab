"""`MediaRows`: the encoder's rows of media items, kept by digest, and what a step needs of them.

The runner asks `MediaRows` before each forward pass. The scheduler (`media_chunks.py`) decides which items are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from weft.engine.process.messages import MediaInput
from weft.engine.process.wire_tensor import from_wire
from weft.engine.step_plan import Scheduled, StepPlan
from weft.errors import RequestError
from weft.models.engine_model import MediaEncoder
from weft.models.prompt_item import PromptItem, joined
from weft.ops.step import PromptTensors, RowEmbeds


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StepMedia:
    """What a step has besides because of media; its fields are those of Step.

    spans: for each sequence, the [first, end) of tokens that see each other; None: there are none.
    """

    embeds: RowEmbeds | None = None
    rope_positions: Tensor | None = None
    tensors: Mapping[int, PromptTensors] = field(default_factory=dict)
    spans: list[list[tuple[int, int]]] | None = None


NO_MEDIA = StepMedia()


class MediaRows:
    """encoder: the model's; None: it takes text alone."""

    def __init__(self, encoder: MediaEncoder | None) -> None:
        self._encoder = encoder
        self._rows: dict[bytes, tuple[Tensor, ...]] = {}
        self._positions: dict[str, Tensor | None] = {}        # of the prompt's tokens, by request id

    def drop(self, digests: Iterable[bytes]) -> None:
        """Forget the rows of these items."""
        for digest in digests:
            self._rows.pop(digest, None)

    def end(self, request_ids: Iterable[str]) -> None:
        """These sequences will not be scheduled again, or begin anew."""
        for request_id in request_ids:
            self._positions.pop(request_id, None)

    def step_media(self, plan: StepPlan) -> StepMedia:
        """Of a plan's step; encodes the items whose rows are needed and not kept."""
        encoder, items = self._encoder, plan.scheduled
        if encoder is None or not any(item.seq.request.media for item in items):
            return NO_MEDIA
        if not encoder.makes_rows:
            return StepMedia(tensors={
                place: PromptTensors(joined(_items(item.seq.request.media)), item.seq.num_prompt_tokens)
                for place, item in enumerate(items) if item.start == 0 and item.seq.request.media})
        spans = None
        if encoder.unit == "items":
            spans = [[(each.first, each.end) for each in item.seq.request.media] for item in items]
        return StepMedia(embeds=self._embeds(encoder, items), rope_positions=self._rope_positions(encoder, items),
                         spans=spans)

    def _embeds(self, encoder: MediaEncoder, items: Iterable[Scheduled]) -> RowEmbeds | None:
        rows: list[Tensor] = []
        values: list[tuple[Tensor, ...]] = []
        row = 0
        for item in items:
            end = item.start + item.num_new_tokens
            for each in item.seq.request.media:
                if each.first < end and item.start < each.end:
                    places, own = _within(each, item.start, end)
                    rows.append(places + (row - item.start))
                    values.append(tuple(x[own] for x in self._of(encoder, each)))
            row += item.num_new_tokens
        if not rows:
            return None
        first, *deeper = (torch.cat(parts) for parts in zip(*values, strict=True))
        return RowEmbeds(rows=torch.cat(rows), values=first, deeper=tuple(deeper))

    def _of(self, encoder: MediaEncoder, item: MediaInput) -> tuple[Tensor, ...]:
        found = self._rows.get(item.digest)
        if found is None:
            found = encoder.encode(item.kind, {name: from_wire(x) for name, x in item.tensors.items()}, item.num_rows)
            if len(found[0]) != item.num_rows:
                raise RequestError(f"multi_modal_data.{item.kind}", f"{item.num_rows} places in the prompt",
                                   expected=f"{len(found[0])}, the rows that the encoder made of the {item.kind}")
            self._rows[item.digest] = found
        return found

    def _rope_positions(self, encoder: MediaEncoder, items: Iterable[Scheduled]) -> Tensor | None:
        """[C, T], where the model turns by several positions; None: by a token's place in its sequence."""
        parts, width = [], 0
        for item in items:
            places = torch.arange(item.start, item.start + item.num_new_tokens)
            own = self._positions_of(encoder, item)
            if own is None:
                parts.append(places.unsqueeze(0))
                continue
            later = int(own.max()) + 1 - own.shape[1]
            inside = own[:, places[places < own.shape[1]]]
            parts.append(torch.cat([inside, (places[places >= own.shape[1]] + later).expand(len(own), -1)], dim=1))
            width = len(own)
        return torch.cat([part.expand(width, -1) for part in parts], dim=1) if width else None

    def _positions_of(self, encoder: MediaEncoder, item: Scheduled) -> Tensor | None:
        request = item.seq.request
        if not request.media:
            return None
        if request.request_id not in self._positions:
            try:
                found = encoder.positions(request.prompt_token_ids, _items(request.media))
            except Exception as error:      # the model's own code, which takes the right number of places for granted
                raise RequestError("multi_modal_data", f"{len(request.media)} items with "
                                   f"{sum(item.num_rows for item in request.media)} places in the prompt",
                                   expected="a place for each row of the model's encoder",
                                   hint=f"{type(error).__name__}: {str(error)[:200]}") from error
            self._positions[request.request_id] = found
        return self._positions[request.request_id]


def _within(item: MediaInput, start: int, end: int) -> tuple[Tensor, slice]:
    """The prompt's places in [start, end) that an item's rows take, and which of its rows these are."""
    places = torch.cat([torch.arange(*span) for span in item.spans])
    before, inside = int((places < start).sum()), int(((places >= start) & (places < end)).sum())
    return places[before : before + inside], slice(before, before + inside)


def _items(media: Iterable[MediaInput]) -> list[PromptItem]:
    return [PromptItem(kind=item.kind, spans=tuple(item.spans),
                       tensors={name: from_wire(x) for name, x in item.tensors.items()}) for item in media]
