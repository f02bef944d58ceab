"""`ConstraintSpec`: the grammar that an answer follows, as plain data. It crosses to the engine's process."""

from __future__ import annotations

import msgspec

from weft.structured_outputs import ReasoningPart


class ConstraintSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an answer must follow. Equal specs are compiled once.

    grammar: in llguidance's form. field: the request's field that errors name, such as "structured_outputs.json".
    reasoning: what stands before it, free; None: nothing.
    """

    grammar: str
    field: str
    reasoning: ReasoningPart | None = None

    @property
    def noun(self) -> str:
        """The grammar in errors, by the field that the user gave."""
        return "a regular expression" if self.field.endswith("regex") else "a grammar"
