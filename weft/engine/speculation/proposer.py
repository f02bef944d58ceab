"""`Proposer`: what the engine asks of a way to draft tokens."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Protocol

from weft.engine.sequence import Sequence


class Proposer(Protocol):
    """Guesses what follows. A guess changes how many steps an answer takes, never the answer."""

    def propose(self, seqs: Seq[Sequence]) -> list[list[int]]:
        """Drafts for each sequence: tokens assumed to follow its known ones; an empty list for no guess."""
        ...
