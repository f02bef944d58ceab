"""`NgramProposer`: n-gram speculation (prompt lookup): drafts the tokens that followed an earlier copy of the last
n-gram of the same sequence.

It helps if an answer repeats its prompt or itself: code, quotes, summaries, tables. It reads all token ids of a
sequence in each step, 4 bytes a token. Source: https://github.com/apoorvumang/prompt-lookup-decoding
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from weakref import WeakKeyDictionary

import numpy as np

from weft.engine.sequence import Sequence


class NgramProposer:
    """Drafts `num_drafts` tokens, or none if no n-gram of `shortest` to `longest` tokens is found."""

    def __init__(self, num_drafts: int, shortest: int, longest: int) -> None:
        self._num_drafts, self._shortest, self._longest = num_drafts, shortest, longest
        self._texts: WeakKeyDictionary[Sequence, _Text] = WeakKeyDictionary()     # gone with their sequences

    def propose(self, seqs: Seq[Sequence]) -> list[list[int]]:
        """The drafts for each sequence; an empty list for no guess."""
        return [self._of_one(seq) for seq in seqs]

    def _of_one(self, seq: Sequence) -> list[int]:
        text = self._texts.get(seq)
        if text is None:
            text = self._texts[seq] = _Text()
        tokens = text.upto(seq.token_ids)
        end = latest_match(tokens, self._shortest, self._longest)
        return [] if end is None else continuation(tokens, end, self._num_drafts)


class _Text:
    """A sequence's token ids as an array. Each call converts only the new ids, because converting a list is slow."""

    def __init__(self) -> None:
        self._memory, self._count = np.empty(0, dtype=np.int32), 0

    def upto(self, token_ids: list[int]) -> np.ndarray:
        """[len(token_ids)] int32, valid until the next call. token_ids: must start with the ids of the last call."""
        count = len(token_ids)
        if count > len(self._memory):
            grown = np.empty(2 * count, dtype=np.int32)
            grown[: self._count] = self._memory[: self._count]
            self._memory = grown
        self._memory[self._count : count] = token_ids[self._count :]
        self._count = count
        return self._memory[:count]


def latest_match(tokens: np.ndarray, shortest: int, longest: int) -> int | None:
    """The end of the latest earlier copy of the text's last n tokens, for the largest n that has such a copy.

    Args:
        tokens: [N] ids. shortest, longest: limits of n, in tokens.

    Returns:
        e < N such that tokens[e - n : e] equals the last n tokens; None if there is none.
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
    """The `num_drafts` tokens from index `end` on. Past the end of the text, tokens[end:] repeats."""
    period = len(tokens) - end
    return tokens[end + np.arange(num_drafts) % period].tolist()
