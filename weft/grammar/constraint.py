"""`Constraint`: the grammar of one sequence, and the tokens that it allows next. Called by `engine/constraints.py`."""

from __future__ import annotations

import numpy as np
from llguidance import LLMatcher

from weft.errors import WeftError
from weft.grammar.schema_fault import first_line


class ConstraintError(WeftError):
    """A grammar that cannot go on: it became too complex, or a token does not follow it."""


class Constraint:
    """The state of a grammar after the tokens of a sequence. Not for two threads at once.

    num_words: 32-bit words of a row of `fill`.
    """

    def __init__(self, matcher: LLMatcher, num_words: int) -> None:
        self._matcher, self.num_words = matcher, num_words

    def new(self) -> Constraint:
        """A constraint in the same state, which goes its own way."""
        return Constraint(self._matcher.deep_copy(), self.num_words)

    def fill(self, row: np.ndarray) -> None:
        """Write the allowed tokens as bits. row: [V / 32, rounded up] uint32; token t is bit t % 32 of word t // 32.

        ConstraintError if the grammar became too complex.
        """
        assert row.nbytes == self.num_words * 4 and row.flags.c_contiguous, "a row has the vocabulary's width"
        self._matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
        self._check()

    def accept(self, token_id: int) -> None:
        """Go on by a token that is not the answer's end. ConstraintError if the grammar does not allow it."""
        if not self._matcher.consume_token(token_id):
            self._check()

    def rollback(self, num_tokens: int) -> None:
        """Go back by as many accepted tokens."""
        self._matcher.rollback(num_tokens)
        self._check()

    @property
    def is_complete(self) -> bool:
        """True if the text so far is a whole answer, whether or not it could go on."""
        return self._matcher.is_accepting()

    @property
    def is_done(self) -> bool:
        """True if no text can follow: only the end of the answer."""
        return self._matcher.is_stopped()

    def forced(self) -> list[int]:
        """The next tokens of which each is the only one that `fill` allows, as far as they are known."""
        found = self._matcher.compute_ff_tokens()
        self._check()
        return found

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintError(first_line(self._matcher.get_error()))


def only_id(row: np.ndarray) -> int | None:
    """The token id of the one bit that is set in a row of `fill`; None if several are set, or none is."""
    places = np.flatnonzero(row)
    word = int(row[places[0]]) if len(places) == 1 else 0
    return None if not word or word & (word - 1) else int(places[0]) * 32 + word.bit_length() - 1
