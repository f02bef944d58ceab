"""`QueueLimits`: how many sequences may wait, and with how many tokens. Knows no scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from weft.errors import QueueFullError


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """None: no limit. A sequence that finds nobody waiting is never refused, however long it is."""

    max_num_reqs: int | None
    max_num_tokens: int | None

    def check(self, num_reqs: int, num_tokens: int, new_tokens: int) -> None:
        """QueueFullError if a sequence of `new_tokens` tokens may not wait behind others with `num_tokens` tokens."""
        if self.max_num_reqs is not None and num_reqs >= self.max_num_reqs:
            raise QueueFullError(f"{num_reqs} requests are waiting and max_num_queued_reqs is {self.max_num_reqs}: "
                                 "try again later.", "max_num_queued_reqs")
        if self.max_num_tokens is not None and num_reqs and num_tokens + new_tokens > self.max_num_tokens:
            raise QueueFullError(f"Requests with {num_tokens} tokens are waiting, this one has {new_tokens}, and "
                                 f"max_num_queued_tokens is {self.max_num_tokens}: try again later.",
                                 "max_num_queued_tokens")
