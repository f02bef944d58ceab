"""`ReasoningFormat`: how a model marks its reasoning, as data; and its parser, `MarkedReasoning`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from weft.structured_outputs import ReasoningPart
from weft.text.parsing.events import AnswerParser
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.machine import Machine, Steps, marks
from weft.text.parsing.signs import Signs, has_signs
from weft.text.parsing.trimmed import Trimmed
from weft.text.tools.types import ToolTypes

_ALL = re.compile(r"(?s:.+)")


class Opening(Enum):
    """What the end of a prompt says about the answer's beginning."""

    OPEN = "open"          # the prompt began the reasoning
    CLOSED = "closed"      # the prompt ended it: there is none
    UNSAID = "unsaid"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningFormat:
    """How a model marks its reasoning.

    names: of the parser, the usual one first. models: whose format it is, for people.
    starts, ends: marks before and behind the reasoning, which is the first thing in an answer.
    is_implied: an answer is reasoning up to an end mark, also without a start mark, unless the prompt ended it.
    other_ends: marks that end the reasoning, too, and are content.
    dropped: marks around the content, which are left out.
    signs: of its chat templates.
    machine: what makes the parser where reasoning and tool calls are parts of one format.
    """

    names: tuple[str, ...]
    models: str
    starts: tuple[str, ...] = ("<think>",)
    ends: tuple[str, ...] = ("</think>",)
    is_implied: bool = False
    other_ends: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    signs: Signs = ()
    machine: Callable[[ToolTypes], Machine] | None = None

    @property
    def name(self) -> str:
        """See `ParserKind`."""
        return self.names[0]

    @property
    def is_whole(self) -> bool:
        """See `ParserKind`."""
        return self.machine is not None

    def make(self, request: ParseRequest) -> AnswerParser:
        """See `ParserKind`."""
        if self.machine is not None:
            return self.machine(ToolTypes(request.tools or ()))
        return self.parser(self.opening(request.prompt, request.continued))

    def parser(self, opening: Opening) -> MarkedReasoning:
        """A parser for one answer."""
        return MarkedReasoning(self, opening)

    def opening(self, prompt: str, continued: str | None = None) -> Opening:
        """What the end of the prompt says. White space behind a mark does not count.

        continued: the text of the message that the answer goes on with, if any.
        """
        if continued is not None:
            start, end = (max(map(continued.rfind, texts)) for texts in (self.starts, self.ends))
            return Opening.OPEN if start > end else Opening.CLOSED
        end = prompt.rstrip()
        if end.endswith(self.ends):
            return Opening.CLOSED
        return Opening.OPEN if end.endswith(self.starts) else Opening.UNSAID

    def before_form(self, request: ParseRequest) -> ReasoningPart | None:
        """The reasoning that stands before a form of the answer; None if the prompt has ended it."""
        opening = self.opening(request.prompt, request.continued)
        if opening is Opening.CLOSED:
            return None
        is_open = opening is Opening.OPEN or self.is_implied
        # Where one format has all parts of an answer, the answer begins with a mark anyway.
        return ReasoningPart(starts=self.starts, ends=self.ends, is_open=is_open,
                             is_optional=not is_open and not self.is_whole)

    @property
    def all_marks(self) -> frozenset[str]:
        """Texts that must stay in the answer for the parser, also where they are special tokens."""
        return frozenset((*self.starts, *self.ends, *self.other_ends, *self.dropped))

    def is_of(self, template: str) -> bool:
        """True if the chat template has the format's signs."""
        return has_signs(template, self.signs)


class MarkedReasoning(Machine):
    """Parses one answer in a `ReasoningFormat`. White space around the reasoning is left out."""

    def __init__(self, form: ReasoningFormat, opening: Opening) -> None:
        self._form, self._opening = form, opening
        super().__init__()

    def run(self) -> Steps[None]:
        """See `Machine`."""
        self.hold("")
        first = yield from self.space()
        self.unread(first)
        is_marked = yield from self._start()
        is_open = self._opening is Opening.OPEN or (self._form.is_implied and self._opening is Opening.UNSAID)
        if is_marked or is_open:
            self.drop()
            yield from self._reasoning()
        else:
            self.give_back()
        yield from self._content()

    def _start(self) -> Steps[bool]:
        for start in self._form.starts:
            if (yield from self.expect(start)):
                return True
        return False

    def _reasoning(self) -> Steps[None]:
        first = yield from self.space()
        self.unread(first)
        text = Trimmed(self.reasoning)
        mark = yield from self.text_until(marks(*self._form.ends, *self._form.other_ends), text.say)
        if mark in self._form.other_ends:
            self.unread(mark)
        self.reasoning_spans.append((0, self.num_read))
        first = yield from self.space()
        self.unread(first)

    def _content(self) -> Steps[None]:
        if not self._form.dropped:
            while piece := (yield _ALL):
                self.content(piece)
            return
        text = Trimmed(self.content)
        while (yield from self.text_until(marks(*self._form.dropped), text.say)):
            text.drop()
            first = yield from self.space()
            self.unread(first)
        text.flush()
