"""`NoPartError`: a piece of a model that none of weft's parts computes, and the part that came nearest."""

from __future__ import annotations

from weft.errors import NotBuiltError


class NoPartError(NotBuiltError):
    """What stops a search.

    module: name of Transformers' module. reason: what is missing, in words. nearest: the candidate whose numbers were
    nearest, in words; "": nothing could be compared. difference: of that candidate, relative to the largest number.
    """

    def __init__(self, module: str, reason: str, *, nearest: str = "", difference: float = float("inf")) -> None:
        self.module, self.reason, self.nearest, self.difference = module, reason, nearest, difference
        near = f" Nearest: {nearest}, which differs by {difference:.1e}." if nearest else ""
        super().__init__("module", module, expected=f"a part of weft that gives its numbers: {reason}",
                         hint=near.strip())
