"""`ToolFormat`: a row of the table of formats: names, an example, how to know its chat templates, its parser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weft.text.parsing.events import AnswerParser
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.signs import Signs, has_signs
from weft.text.tools.calls import CallMachine
from weft.text.tools.marked import MarkedFormat
from weft.text.tools.types import ToolTypes


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFormat:
    """A format of tool calls.

    names: of the parser, the usual one first. models: whose format it is, for people.
    example: a call add(a=1, b="x").
    signs: of its chat templates; () if no template tells the format.
    form, machine: the marked format, or what makes the parser of another one.
    marks: what the answer has besides the marks of `form`.
    tag: of formats whose calls can be forced into a schema: what begins each call, what stands before a call's
        arguments (with NAME for the tool's name, in quotes as in JSON, and {INDEX} for a number behind it), and what
        stands behind them.
    """

    names: tuple[str, ...]
    models: str
    example: str
    signs: Signs = ()
    form: MarkedFormat | None = None
    machine: Callable[[ToolTypes], CallMachine] | None = None
    marks: tuple[str, ...] = ()
    tag: tuple[str, str, str] | None = None

    @property
    def name(self) -> str:
        """See `ParserKind`."""
        return self.names[0]

    @property
    def is_whole(self) -> bool:
        """See `ParserKind`: formats without a form have reasoning, too."""
        return self.form is None

    def make(self, request: ParseRequest) -> AnswerParser:
        """See `ParserKind`."""
        return self.parser(ToolTypes(request.tools))

    def parser(self, tools: ToolTypes) -> CallMachine:
        """A parser for one answer."""
        if self.form is not None:
            return self.form.parser(tools)
        assert self.machine is not None, "a format has a form or a machine"
        return self.machine(tools)

    @property
    def all_marks(self) -> frozenset[str]:
        """Texts that must stay in the answer for the parser, also where they are special tokens."""
        form = self.form
        found = () if form is None else (*form.opens, *form.fences, *form.dropped, *form.closes, *form.body.marks)
        return frozenset((*found, *self.marks))

    def is_of(self, template: str) -> bool:
        """True if the chat template has the format's signs."""
        return has_signs(template, self.signs)
