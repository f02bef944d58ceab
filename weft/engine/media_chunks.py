"""`MediaChunks`: cuts chunks of prompts with media so that a step has the rows of each item that it computes.

The scheduler asks `MediaChunks` for each chunk. This module knows which items are encoded (`cache/encoder_cache.py`),
and no tensor.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.cache.encoder_cache import EncoderCache
from weft.engine.process.messages import MediaInput
from weft.engine.sequence import Sequence
from weft.engine.step_plan import OpenPlan


class MediaChunks:
    """budget: rows that a step's encoder makes; one item alone may have more. unit: what one step must compute whole:
    "rows" nothing; "items" each item, whose tokens see each other; "prompt" all of a prompt with items.
    """

    def __init__(self, budget: int, unit: str = "rows") -> None:
        self.cache, self.budget, self._unit = EncoderCache(budget), budget, unit

    def fit(self, seq: Sequence, start: int, num_tokens: int, step: OpenPlan) -> int:
        """As many of the `num_tokens` tokens from `start` on as the step can compute; 0: none."""
        media = seq.request.media
        if not media or start >= seq.num_prompt_tokens:
            return num_tokens
        for first, end in self.whole_spans(seq):
            if start < end and first < start + num_tokens < end:
                num_tokens = max(0, first - start)
        rows, own = 0, []
        for item in _within(media, start, start + num_tokens):
            if item.digest not in self.cache and item.digest not in own:
                made, rows = step.media_rows + rows, rows + item.num_rows
                if (made and made + item.num_rows > self.budget) or not self.cache.has_room(rows, own):
                    return max(0, self._whole_first(seq, item) - start)
            own.append(item.digest)
        return num_tokens

    def take(self, seq: Sequence, start: int, num_tokens: int, step: OpenPlan) -> None:
        """The step computes these tokens, with their items' rows."""
        for item in _within(seq.request.media, start, start + num_tokens):
            if item.digest not in self.cache:
                step.media_rows += item.num_rows
            step.dropped_media += self.cache.hold(seq.request_id, item.digest, item.num_rows)

    def computed(self, seq: Sequence) -> None:
        """A sequence has gone on: it lets go of the items that it has passed."""
        if seq.request.media:
            done = [item.digest for item in seq.request.media if item.end <= seq.num_computed_tokens]
            ahead = {item.digest for item in seq.request.media if item.end > seq.num_computed_tokens}
            self.cache.let_go(seq.request_id, [digest for digest in done if digest not in ahead])

    def ended(self, seq: Sequence) -> None:
        """A sequence was preempted or has ended."""
        if seq.request.media:
            self.cache.let_go(seq.request_id)

    def whole_spans(self, seq: Sequence) -> list[tuple[int, int]]:
        """The parts of a prompt, (first token, end), that one step must compute."""
        media = seq.request.media
        if self._unit == "rows" or not media:
            return []
        return [(0, seq.num_prompt_tokens)] if self._unit == "prompt" else [(item.first, item.end) for item in media]

    def _whole_first(self, seq: Sequence, item: MediaInput) -> int:
        """Where a chunk has to end so that it does not touch an item."""
        return min([item.first, *(first for first, end in self.whole_spans(seq) if first <= item.first < end)])


def _within(media: Iterable[MediaInput], start: int, end: int) -> list[MediaInput]:
    """The items that have tokens in [start, end)."""
    return [item for item in media if item.first < end and start < item.end]
