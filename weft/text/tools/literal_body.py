"""Calls of Gemma's models: `call:add{a:1,b:{c:<escape>text<escape>}}`, where a mark stands for a quote."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from weft.text.parsing.json_text import quoted
from weft.text.parsing.machine import Steps, marks
from weft.text.tools.header_body import read_header
from weft.text.tools.marked import MarkedCalls

_WORD = re.compile(r"[^,:{}\[\]<]+")


@dataclass(frozen=True, slots=True)
class LiteralBody:
    """Reads such calls. quote: the mark before and behind strings, of values and of keys."""

    quote: str
    firsts: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        """See `Body`."""
        return (self.quote,)

    def read(self, machine: MarkedCalls) -> Steps[None]:
        """See `Body`."""
        header, mark = yield from read_header(machine, ("{", *machine.form.closes))
        name = re.fullmatch(r"(?:call:)?\s*(\S+)", (header or "").strip())
        if name is None or mark != "{" or not machine.start(name[1]):
            machine.give_back()
            return
        yield None                                   # the brace
        yield from self._object(machine, name[1])

    def _object(self, machine: MarkedCalls, name: str) -> Steps[None]:
        """Passes an object on as JSON. Commas are set here, because models forget some."""
        say = machine.argue
        nests, counts = ["}"], [0]                   # of each open object or list: its end, and its entries up to now
        say("{")
        while nests:
            char = yield from machine.space(",:")
            if char in ("}", "]"):
                say(nests.pop())
                counts.pop()
                continue
            machine.unread(char)
            if char == "<" and not (yield from self._is_quote(machine)):
                say("".join(reversed(nests)))        # the call's end mark came too early
                return
            if not char:
                return
            say(", " if counts[-1] else "")
            counts[-1] += 1
            key = ""
            if nests[-1] == "}":
                key = yield from self._key(machine)
                say(f'"{quoted(key)}": ')
            char = yield from machine.space()
            if char in ("{", "["):
                say(char)
                nests.append("}" if char == "{" else "]")
                counts.append(0)
                continue
            machine.unread(char)
            is_whole = yield from self._value(machine, name, key if len(nests) == 1 else "")
            if not is_whole:
                return

    def _is_quote(self, machine: MarkedCalls) -> Steps[bool]:
        found = yield from machine.expect(self.quote)
        if found:
            machine.unread(self.quote)
        return found

    def _key(self, machine: MarkedCalls) -> Steps[str]:
        """Reads a key and its colon."""
        if (yield from machine.expect(self.quote)):
            pieces: list[str] = []
            yield from machine.text_until(marks(self.quote), pieces.append)
            key = "".join(pieces)
        else:
            key = yield from _word(machine)
        char = yield from machine.space()
        if char != ":":
            machine.unread(char)
        return key

    def _value(self, machine: MarkedCalls, name: str, parameter: str) -> Steps[bool]:
        """Passes a string, number or word on. False if the text ended in it."""
        if not (yield from machine.expect(self.quote)):
            word = yield from _word(machine)
            machine.argue(_json_of_word(word))
            return True
        if parameter and machine.tools.excludes_strings(name, parameter):
            pieces: list[str] = []
            mark = yield from machine.text_until(marks(self.quote), pieces.append)
            machine.argue(machine.tools.json_of(name, parameter, "".join(pieces)))
            return bool(mark)
        machine.argue('"')
        mark = yield from machine.text_until(marks(self.quote), lambda piece: machine.argue(quoted(piece)))
        if mark:
            machine.argue('"')
        return bool(mark)


def _word(machine: MarkedCalls) -> Steps[str]:
    pieces: list[str] = []
    while piece := (yield _WORD):
        if not _WORD.match(piece):
            machine.unread(piece)
            break
        pieces.append(piece)
    return "".join(pieces).strip()


def _json_of_word(word: str) -> str:
    """A bare word as JSON: a number, true, false and null as they are, other words as strings."""
    try:
        return json.dumps(json.loads(word), ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(word, ensure_ascii=False)
