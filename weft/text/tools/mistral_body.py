"""Calls of Mistral's models: a list of JSON objects (tokenizers up to version 7), or a name and its arguments."""

from __future__ import annotations

from dataclasses import dataclass

from weft.text.parsing.machine import Steps
from weft.text.tools.header_body import HeaderBody
from weft.text.tools.json_body import JsonBody
from weft.text.tools.marked import MarkedCalls

_JSON = JsonBody()
_HEADER = HeaderBody(r"(?P<name>[^\s\[{]+)(?:\[CALL_ID\](?P<id>[^\s\[{]+))?", ("[ARGS]", "{"))


@dataclass(frozen=True, slots=True)
class MistralBody:
    """Reads what stands behind [TOOL_CALLS]: `[{"name": …}]`, `add{…}`, `add[ARGS]{…}` or `add[CALL_ID]id[ARGS]{…}`."""

    firsts: str = ""
    json: JsonBody = _JSON
    header: HeaderBody = _HEADER

    @property
    def marks(self) -> tuple[str, ...]:
        """See `Body`."""
        return ("[CALL_ID]", *self.header.ends)

    def read(self, machine: MarkedCalls) -> Steps[None]:
        """See `Body`."""
        first = yield from machine.space()
        machine.unread(first)
        yield from (self.json if first and first in self.json.firsts else self.header).read(machine)
