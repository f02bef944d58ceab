"""`Proposer`: the interface of speculative decoding methods to the engine."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Protocol

from weft.engine.sequence import Sequence


class Proposer(Protocol):
    """Guesses the next tokens. Guesses change the number of steps that a completion takes, never its tokens."""

    def propose(self, seqs: Seq[Sequence]) -> list[list[int]]:
        """Drafts for each sequence: likely tokens after its known ones; an empty list for no guess."""
        ...
