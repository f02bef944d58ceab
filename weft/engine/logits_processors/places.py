"""`Places`: which request has which index in the batch of the logits processors, and what changes from step to step.

Indices are dense. Requests that leave make room; newcomers take free places first, and the last requests move to the
places that stay free.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

from weft.engine.logits_processors.interface import AddedRequest, BatchUpdate, MoveDirectionality, MovedRequest
from weft.engine.process.messages import NO_TOKEN
from weft.engine.sequence import Sequence


class Places:
    """The batch of the last step. outputs: for each request, its output token ids as processors see them."""

    def __init__(self) -> None:
        self.seqs: list[Sequence] = []
        self._outputs: list[list[int]] = []

    def update(self, present: Seq[Sequence]) -> BatchUpdate | None:
        """Take over the requests of this step; what has changed, or None."""
        for seq, output in zip(self.seqs, self._outputs, strict=True):
            output += seq.token_ids[seq.num_prompt_tokens + len(output) :]
        here = set(map(id, present))
        known = set(map(id, self.seqs))
        free = [index for index, seq in enumerate(self.seqs) if id(seq) not in here]
        new = [seq for seq in present if id(seq) not in known]
        if not free and not new:
            return None
        added = [self._place(seq, free.pop(0) if free else len(self.seqs)) for seq in new]
        moved = self._close(free)
        return BatchUpdate(batch_size=len(self.seqs), removed=free, added=added, moved=moved)

    def _place(self, seq: Sequence, index: int) -> AddedRequest:
        output = seq.output_token_ids
        self.seqs[index : index + 1], self._outputs[index : index + 1] = [seq], [output]
        prompt = seq.token_ids[: seq.num_prompt_tokens]
        return index, seq.request.sampling, None if prompt and prompt[0] == NO_TOKEN else prompt, output

    def _close(self, free: Seq[int]) -> list[MovedRequest]:
        """Move the last requests to the free places, and forget the places behind them."""
        moved, last, left = [], len(self.seqs) - 1, set(free)
        for index in free:
            while last in left:
                last -= 1
            if last < index:
                break
            self.seqs[index], self._outputs[index] = self.seqs[last], self._outputs[last]
            moved.append((last, index, MoveDirectionality.UNIDIRECTIONAL))
            last -= 1
        count = len(self.seqs) - len(free)
        del self.seqs[count:], self._outputs[count:]
        return moved
