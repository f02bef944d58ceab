"""Calls whose name stands before their arguments: a header up to a mark, then a JSON object."""

from __future__ import annotations

import re
from dataclasses import dataclass

from weft.text.parsing.machine import Steps, marks
from weft.text.tools.json_body import read_arguments
from weft.text.tools.marked import MarkedCalls

MAX_HEADER_CHARS = 512


@dataclass(frozen=True, slots=True)
class HeaderBody:
    """Reads calls such as `add<mark>{"a": 1}`.

    pattern: of the whole header, with a group `name` and, where the model names its calls, a group `id`.
    ends: marks that end the header. "{" as such a mark is the first character of the arguments.
    """

    pattern: str
    ends: tuple[str, ...]
    firsts: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        """See `Body`."""
        return self.ends

    def read(self, machine: MarkedCalls) -> Steps[None]:
        """See `Body`."""
        header, _ = yield from read_header(machine, self.ends)
        found = re.fullmatch(self.pattern, header.strip()) if header is not None else None
        if found is None or not machine.start(found["name"], found.groupdict().get("id")):
            machine.give_back()
            return
        yield from read_arguments(machine, (yield from machine.space()))


def read_header(machine: MarkedCalls, ends: tuple[str, ...]) -> Steps[tuple[str | None, str]]:
    """Reads up to a mark, and the mark. Returns the text before it and the mark; (None, "") if there is none nearby.
    """
    looked_for, pieces, length = marks(*ends), [], 0
    begun = ""
    while length + len(begun) <= MAX_HEADER_CHARS:
        char = yield None
        if not char:
            return None, ""
        begun += char
        while begun and begun not in looked_for.prefixes:
            if begun in looked_for.texts:
                if begun == "{":
                    machine.unread(begun)
                return "".join(pieces), begun
            pieces.append(begun[0])
            length, begun = length + 1, begun[1:]
    return None, ""
