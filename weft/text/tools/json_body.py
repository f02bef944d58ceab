"""Calls that are JSON objects with a name and arguments: one, several in a row, or a list of them."""

from __future__ import annotations

from dataclasses import dataclass

from weft.text.parsing.json_text import read_string, read_value, unquoted
from weft.text.parsing.machine import Steps
from weft.text.tools.calls import CallMachine

NAMES = ("name", "tool_name")
ARGUMENTS = ("arguments", "parameters")


@dataclass(frozen=True, slots=True)
class JsonBody:
    """Reads calls such as {"name": "add", "arguments": {"a": 1}}.

    lists, objects: whether a list of calls, or calls one behind the other, can follow a mark.
    name_is_key: calls are {"add": {"a": 1}} instead.
    """

    lists: bool = True
    objects: bool = True
    name_is_key: bool = False
    marks: tuple[str, ...] = ()

    @property
    def firsts(self) -> str:
        """The characters that a body begins with."""
        return ("[" if self.lists else "") + ("{" if self.objects else "")

    def read(self, machine: CallMachine) -> Steps[None]:
        """Reads the calls behind a mark. Text that is no call is given back as content."""
        first = yield from machine.space()
        if not first or first not in self.firsts:
            machine.unread(first)
            machine.give_back()
            return
        opened = first == "["
        if opened:
            first = yield from machine.space()
        while first == "{":
            is_call = yield from (self._keyed(machine) if self.name_is_key else self._named(machine))
            if not is_call:
                machine.give_back()
                return
            machine.hold("")
            first = yield from machine.space(",;")
        if opened and first == "]":
            machine.drop()
            return
        machine.unread(first)
        machine.give_back_space()

    def _named(self, machine: CallMachine) -> Steps[bool]:
        """Reads an object behind its "{". False if it is no call."""
        name, early, is_started = "", None, False         # early: arguments that stand before the name
        while True:
            key = yield from _key(machine)
            if key is None:
                return is_started
            if key == "":                                  # the object's end
                return is_started or (bool(name) and _start(machine, name, early or "{}"))
            first = yield from machine.space()
            if key in NAMES and not name and first == '"':
                name = yield from read_string()
                if early is not None:
                    is_started = _start(machine, name, early)
                    if not is_started:
                        return False
            elif key in ARGUMENTS and not is_started and early is None:
                if not name:
                    pieces: list[str] = []
                    yield from read_value(machine, first, pieces.append)
                    early = _as_object("".join(pieces))
                    continue
                is_started = machine.start(name)
                if not is_started:
                    return False
                yield from read_arguments(machine, first)
            else:
                yield from read_value(machine, first, lambda piece: None)

    def _keyed(self, machine: CallMachine) -> Steps[bool]:
        name = yield from _key(machine)
        if not name or not machine.start(name):
            return False
        yield from read_arguments(machine, (yield from machine.space()))
        end = yield from machine.space()
        if end != "}":
            machine.unread(end)
        return True


def read_arguments(machine: CallMachine, first: str) -> Steps[None]:
    """Passes on the arguments of the call that was started. Those in a string, or null, become an object."""
    if first == "{":
        yield from read_value(machine, first, machine.argue)
        return
    if first in ("", "}", ","):
        machine.unread(first)
        machine.argue("{}")
        return
    pieces: list[str] = []
    yield from read_value(machine, first, pieces.append)
    machine.argue(_as_object("".join(pieces)))


def _as_object(text: str) -> str:
    if text.startswith('"'):
        return unquoted(text) or "{}"
    return "{}" if text == "null" else text


def _start(machine: CallMachine, name: str, arguments: str) -> bool:
    if not machine.start(name):
        return False
    machine.argue(arguments)
    return True


def _key(machine: CallMachine) -> Steps[str | None]:
    """The next key of an object, read up to its colon; "" at the object's end; None where no key follows."""
    char = yield from machine.space(",")
    if char == "}":
        return ""
    if char != '"':
        machine.unread(char)
        return None
    key = yield from read_string()
    colon = yield from machine.space()
    if colon != ":":
        machine.unread(colon)
        return None
    return key or None
