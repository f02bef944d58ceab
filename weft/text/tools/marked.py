"""`MarkedFormat`: a format of tool calls between marks, as data, and its parser, `MarkedCalls`.

The parser looks for marks in content; what stands behind a mark is read by the format's body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from weft.text.parsing.machine import Marks, Steps, marks
from weft.text.tools.calls import CallMachine, NewId, random_id
from weft.text.tools.types import ToolTypes

_JUNK = re.compile(r"[\s}\]`]+")


class Body(Protocol):
    """Reads what stands between marks."""

    @property
    def firsts(self) -> str:
        """The characters that a body begins with; "" for any."""
        ...

    @property
    def marks(self) -> tuple[str, ...]:
        """Marks inside a body."""
        ...

    def read(self, machine: MarkedCalls) -> Steps[None]:
        """Reads the calls behind a mark, which `machine` keeps. Drops the kept text, or gives it back as content."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedFormat:
    """A format of tool calls.

    opens: marks that a body follows. fences: such marks that content has, too: behind them a call must name a tool of
    the request. dropped: marks that are left out wherever they stand. closes: marks that are left out behind a call.
    bare: an answer may begin with a body, without a mark; then, too, a call must name a tool of the request.
    new_id: makes the id of a call that brings none.
    """

    body: Body
    opens: tuple[str, ...] = ()
    fences: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    closes: tuple[str, ...] = ()
    bare: bool = False
    new_id: NewId = random_id
    looked_for: Marks = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "looked_for", marks(*self.opens, *self.fences, *self.dropped, *self.closes))

    def parser(self, tools: ToolTypes, new_id: NewId | None = None) -> MarkedCalls:
        """A parser for one answer."""
        return MarkedCalls(self, tools, new_id or self.new_id)


class MarkedCalls(CallMachine):
    """Parses one answer in a `MarkedFormat`. mark: the one in front of the body that is being read; "" for none."""

    def __init__(self, form: MarkedFormat, tools: ToolTypes, new_id: NewId) -> None:
        self.form, self.tools, self.mark = form, tools, ""
        super().__init__(tools.names, new_id)

    def run(self) -> Steps[None]:
        """See `Machine`."""
        form = self.form
        if form.bare:
            yield from self._bare()
        while mark := (yield from self.text_until(form.looked_for, self.content)):
            if mark in form.opens or mark in form.fences:
                yield from self._body(mark, needs_known_name=mark in form.fences)
            elif mark in form.dropped or self.num_calls:
                self.drop_space()
            else:
                self.content(mark)

    def _bare(self) -> Steps[None]:
        self.hold("")
        first = yield from self.space()
        self.unread(first)
        self.give_back()
        if first and first in self.form.body.firsts:
            yield from self._body("", needs_known_name=True)

    def _body(self, mark: str, *, needs_known_name: bool) -> Steps[None]:
        self.hold(mark)
        self.mark, self.needs_known_name, before = mark, needs_known_name, self.num_calls
        yield from self.form.body.read(self)
        if self.num_calls > before:
            yield from self._junk()

    def _junk(self) -> Steps[None]:
        """Skips brackets that were closed once too often behind a call, and ends of fences."""
        while piece := (yield _JUNK):
            if not _JUNK.match(piece):
                self.unread(piece)
                return
            self.content("".join(char for char in piece if char.isspace()))
