"""Calls whose arguments stand one by one between tags, as text: their types are those of the request's tools."""

from __future__ import annotations

import re
from dataclasses import dataclass

from weft.text.parsing.json_text import quoted
from weft.text.parsing.machine import Say, Steps, marks
from weft.text.tools.header_body import read_header
from weft.text.tools.marked import MarkedCalls


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlBody:
    """Reads calls such as `<function=add><parameter=a>1</parameter></function>`.

    call: what stands before and behind a call's name. Without it the name begins at once and ends at a parameter.
    call_end: what ends a call.
    parameter: what stands before and behind a parameter's name. value: what stands before its value, if anything.
    value_end: what ends a value.
    name, key: the patterns of a call's and of a parameter's name, with a group `name`; that of a parameter perhaps also
        with a group `string`, whose text says whether the value is one ("true" or "string").
    wraps: values stand between newlines, which are not part of them.
    is_escaped: names are XML's attributes, in which `&quot;` and `&amp;` are characters.
    cdata: what may stand around a value, within which marks are text. whole: what stands around all arguments together,
        as a JSON object.
    """

    call: tuple[str, str] | None
    call_end: str
    parameter: tuple[str, str]
    value_end: str
    value: str = ""
    name: str = r"(?P<name>.+)"
    key: str = r"(?P<name>.+)"
    wraps: bool = False
    is_escaped: bool = False
    cdata: tuple[str, str] | None = None
    whole: tuple[str, str] | None = None
    firsts: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        """See `Body`."""
        return (*(self.call or ()), self.call_end, *self.parameter, self.value, self.value_end, *(self.whole or ()))

    def read(self, machine: MarkedCalls) -> Steps[None]:
        """See `Body`. Where the mark was the beginning of a call itself, the call's name follows at once."""
        if self.call is None:
            name, mark = yield from read_header(machine, (self.parameter[0], self.call_end))
            if name is None or not machine.start(name.strip()):
                machine.give_back()
                return
            machine.unread(mark)
            yield from self._arguments(machine, name.strip())
            return
        before, named = machine.num_calls, machine.mark == self.call[0]
        while named or (yield from self._begins(machine, self.call[0])):
            header, _ = yield from read_header(machine, (self.call[1],))
            found = re.fullmatch(self.name, (header or "").strip(), re.DOTALL)
            if found is None or not machine.start(self._plain(found["name"].strip())):
                machine.give_back()
                return
            yield from self._arguments(machine, self._plain(found["name"].strip()))
            named = False
            machine.hold("")
        if machine.num_calls > before:
            machine.give_back_space()
        else:
            machine.give_back()

    def _begins(self, machine: MarkedCalls, text: str) -> Steps[bool]:
        char = yield from machine.space()
        machine.unread(char)
        return (yield from machine.expect(text))

    def _arguments(self, machine: MarkedCalls, name: str) -> Steps[None]:
        """Reads the parameters, and the call's end."""
        closes = tuple(close for close in machine.form.closes if close != self.call_end)
        ends, begun = marks(self.parameter[0], self.call_end, *(self.whole or ())[:1], *closes), "{"
        while True:
            mark = yield from machine.text_until(ends, lambda text: None)
            if self.whole is not None and mark == self.whole[0]:
                yield from machine.text_until(marks(self.whole[1], self.call_end, *closes), machine.argue)
                yield from machine.expect(self.call_end)
                return
            if mark in closes:
                machine.unread(mark)
            if mark != self.parameter[0]:
                break
            header, _ = yield from read_header(machine, (self.parameter[1],))
            found = re.fullmatch(self.key, (header or "").strip(), re.DOTALL)
            if found is None or (self.value and not (yield from self._begins(machine, self.value))):
                continue
            key = self._plain(found["name"])
            machine.argue(f'{begun}"{quoted(key)}": ')
            begun = ", "
            said = found.groupdict().get("string")
            is_string = machine.tools.is_string(name, key) if said is None else said in ("true", "string")
            ends_value = yield from self._value_ends(machine, closes)
            if is_string:
                is_whole = yield from self._string(machine, ends_value)
            else:
                is_whole = yield from self._other(machine, name, key, ends_value)
            if not is_whole:
                return
        machine.argue("{}" if begun == "{" else "}")

    def _plain(self, name: str) -> str:
        return name.replace("&quot;", '"').replace("&amp;", "&") if self.is_escaped else name

    def _value_ends(self, machine: MarkedCalls, closes: tuple[str, ...]) -> Steps[tuple[str, ...]]:
        """What ends the value that begins now, its own end first."""
        if self.cdata is not None and (yield from self._begins(machine, self.cdata[0])):
            return (self.cdata[1],)
        return (self.value_end, *{self.parameter[0], self.call_end, *closes} - {self.value_end})

    def _string(self, machine: MarkedCalls, ends: tuple[str, ...]) -> Steps[bool]:
        """Passes a string on while it is written. False if the text ended in it."""
        is_first, held = self.wraps, ""

        def say(piece: str) -> None:
            nonlocal is_first, held
            if is_first:
                piece, is_first = piece.removeprefix("\n"), False
                if not piece:
                    return
            piece = held + piece
            held = "\n" if self.wraps and piece.endswith("\n") else ""
            machine.argue(quoted(piece.removesuffix("\n") if held else piece))

        machine.argue('"')
        is_whole = yield from self._value(machine, ends, say)
        if is_whole:
            machine.argue('"')
        return is_whole

    def _other(self, machine: MarkedCalls, name: str, parameter: str, ends: tuple[str, ...]) -> Steps[bool]:
        """Passes a value on when it is whole. False if the text ended in it."""
        pieces: list[str] = []
        is_whole = yield from self._value(machine, ends, pieces.append)
        text = "".join(pieces)
        if self.wraps:
            text = text.removeprefix("\n").removesuffix("\n")
        machine.argue(machine.tools.json_of(name, parameter, text) if is_whole else text)
        return is_whole

    def _value(self, machine: MarkedCalls, ends: tuple[str, ...], say: Say) -> Steps[bool]:
        """Passes a value's text to `say`. A value whose end is missing ends where the next thing begins."""
        mark = yield from machine.text_until(marks(*ends), say)
        if mark != ends[0]:
            machine.unread(mark)
        return bool(mark)
