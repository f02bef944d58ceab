"""`ReasoningBudget`: how many tokens an answer's reasoning may have before its end mark is forced."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from weft.errors import RequestError
from weft.field_checks import MAX_COUNT, check_flag, check_token_ids, check_whole

_FIELD = "reasoning_budget"
_MOST_LATE = 3      # tokens that may complete a character (of four bytes at most) before the end mark
_MARKS = ("start_token_ids", "end_token_ids")


class ReasoningBudget(msgspec.Struct, kw_only=True, frozen=True):
    """A limit on the reasoning at an answer's beginning. A wrong value is a `RequestError`.

    What is forced depends on the answer's tokens alone, so a request that is preempted or resumed goes on as it would.

    Attributes:
        max_tokens: tokens of reasoning, 0 or more; then the end mark follows, unless it came before.
        end_token_ids: the end mark's tokens.
        start_token_ids: the tokens with which an answer begins that has reasoning. They do not count.
        is_open: the reasoning begins with the answer's first token, because the prompt has the start mark.
    """

    max_tokens: int
    end_token_ids: list[int]
    start_token_ids: list[int] = []
    is_open: bool = False

    def __post_init__(self) -> None:
        check_whole(f"{_FIELD}.max_tokens", self.max_tokens, 0, MAX_COUNT)
        check_flag(f"{_FIELD}.is_open", self.is_open)
        for name in _MARKS:
            check_token_ids(f"{_FIELD}.{name}", getattr(self, name))
        if not self.end_token_ids:
            raise RequestError(f"{_FIELD}.end_token_ids", self.end_token_ids, expected="at least one token id")
        if not self.is_open and not self.start_token_ids:
            raise RequestError(f"{_FIELD}.start_token_ids", self.start_token_ids,
                               expected="at least one token id, unless is_open is True")

    def clone(self) -> ReasoningBudget:
        """A copy that shares no lists with this object."""
        return msgspec.structs.replace(self, **{name: getattr(self, name).copy() for name in _MARKS})

    def check_vocabulary(self, vocab_size: int) -> None:
        """RequestError unless every token id is in [0, vocab_size)."""
        for name in _MARKS:
            for token_id in getattr(self, name):
                if token_id >= vocab_size:
                    raise RequestError(f"{_FIELD}.{name}", token_id,
                                       expected=f"token ids from 0 to {vocab_size - 1} (the vocabulary)")

    def may_force(self, num_tokens: int) -> bool:
        """True if the token after an answer's first `num_tokens` may be one that is forced."""
        return 0 <= num_tokens - self._begin - self.max_tokens < len(self.end_token_ids) + _MOST_LATE

    def forced_id(self, token_ids: Sequence[int]) -> int | None:
        """The token that is forced after an answer's tokens; None: any may follow. `may_force` is true of them.

        Where a grammar forbade the mark's first token, because a character was not complete, the mark comes later.
        """
        begin, end = self._begin, self.end_token_ids
        if not self.is_open and list(token_ids[:begin]) != self.start_token_ids:
            return None
        reasoning, num_over = list(token_ids[begin:]), len(token_ids) - begin - self.max_tokens
        if any(reasoning[i : i + len(end)] == end for i in range(len(reasoning) - len(end) + 1)):
            return None
        return end[next(num for num in range(min(num_over, len(end) - 1), -1, -1)
                        if reasoning[len(reasoning) - num :] == end[:num])]

    @property
    def _begin(self) -> int:
        return 0 if self.is_open else len(self.start_token_ids)
