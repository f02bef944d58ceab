"""`NgramProposer`: drafts what followed the last tokens where the same text has them before (prompt lookup).

Helps where an answer repeats its prompt or itself: code, quotes, summaries, tables. Costs one pass over the token ids
of a sequence in each step, 4 bytes a token. Source: https://github.com/apoorvumang/prompt-lookup-decoding
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from weakref import WeakKeyDictionary

import numpy as np

from weft.engine.sequence import Sequence


class NgramProposer:
    """Drafts `num_drafts` tokens, or none where no n-gram of `shortest` to `longest` tokens is found."""

    def __init__(self, num_drafts: int, shortest: int, longest: int) -> None:
        self._num_drafts, self._shortest, self._longest = num_drafts, shortest, longest
        self._texts: WeakKeyDictionary[Sequence, _Text] = WeakKeyDictionary()     # gone with their sequences

    def propose(self, seqs: Seq[Sequence]) -> list[list[int]]:
        """Drafts for each sequence."""
        return [self._of_one(seq) for seq in seqs]

    def _of_one(self, seq: Sequence) -> list[int]:
        text = self._texts.get(seq)
        if text is None:
            text = self._texts[seq] = _Text()
        tokens = text.upto(seq.token_ids)
        end = latest_match(tokens, self._shortest, self._longest)
        return [] if end is None else continuation(tokens, end, self._num_drafts)


class _Text:
    """A sequence's token ids as an array, extended by the new ones alone: lists of Python numbers convert slowly."""

    def __init__(self) -> None:
        self._memory, self._count = np.empty(0, dtype=np.int32), 0

    def upto(self, token_ids: list[int]) -> np.ndarray:
        """[len(token_ids)] int32, valid until the next call. token_ids: the last call's and those that follow."""
        count = len(token_ids)
        if count > len(self._memory):
            grown = np.empty(2 * count, dtype=np.int32)
            grown[: self._count] = self._memory[: self._count]
            self._memory = grown
        self._memory[self._count : count] = token_ids[self._count :]
        self._count = count
        return self._memory[:count]


def latest_match(tokens: np.ndarray, shortest: int, longest: int) -> int | None:
    """Where the longest n-gram that also ends the text ends before, the latest such place; None if there is none.

    Returns:
        A place e < len(tokens) such that tokens[e - n : e] are the last n tokens, `shortest` <= n <= `longest`.
    """
    count, found = len(tokens), None
    ends = np.flatnonzero(tokens[:-1] == tokens[-1]) + 1
    for length in range(1, longest + 1):
        if length > 1:
            ends = ends[ends >= length]
            ends = ends[tokens[ends - length] == tokens[count - length]]
        if not len(ends):
            break
        if length >= shortest:
            found = int(ends[-1])
    return found


def continuation(tokens: np.ndarray, end: int, num_drafts: int) -> list[int]:
    """The `num_drafts` tokens from place `end` on; at the end of the text it goes on as it did since `end`."""
    period = len(tokens) - end
    return tokens[end + np.arange(num_drafts) % period].tolist()
