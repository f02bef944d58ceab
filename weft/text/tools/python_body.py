"""Calls that are Python: `[add(a=1, b="x"), now()]`. Each argument is passed on as JSON when it is whole."""

from __future__ import annotations

import ast
import itertools
import json
import re
from dataclasses import dataclass
from typing import Any

from weft.text.parsing.machine import Say, Steps
from weft.text.tools.marked import MarkedCalls

_NAME = re.compile(r"[\w.\-]+")
_KEYWORD = re.compile(r"\s*([^\W\d]\w*)\s*=(?!=)(.*)", re.DOTALL)
_IN_VALUE = re.compile(r"[^\"'()\[\]{},<]+")
_CONSTANTS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class PythonBody:
    """Reads calls, in brackets or, with `brackets` False, also without them, one behind the other."""

    brackets: bool = True
    marks: tuple[str, ...] = ()

    @property
    def firsts(self) -> str:
        """See `Body`."""
        return "[" if self.brackets else ""

    def read(self, machine: MarkedCalls) -> Steps[None]:
        """See `Body`."""
        first = yield from machine.space()
        opened = first == "["
        if not opened:
            machine.unread(first)
            if self.brackets:
                machine.give_back()
                return
        while True:
            name = yield from _name(machine)
            if name is None or not machine.start(name):
                machine.give_back()
                return
            yield from _arguments(machine, name)
            machine.hold("")
            char = yield from machine.space(",;")
            if char == "]" and opened:
                machine.drop()
                return
            machine.unread(char)
            machine.give_back_space()
            if not _NAME.match(char):
                return
            machine.hold("")


def _name(machine: MarkedCalls) -> Steps[str | None]:
    """The name of the call that begins here, read up to its parenthesis; None if none does."""
    pieces: list[str] = []
    while _NAME.match(piece := (yield _NAME)):
        pieces.append(piece)
    if piece != "(":
        machine.unread(piece)
        return None
    return "".join(pieces) or None


def _arguments(machine: MarkedCalls, name: str) -> Steps[None]:
    """Reads the arguments, and the parenthesis behind them. One without a keyword is the parameter at its place."""
    begun, parameters = "{", machine.tools.parameters(name)
    for place in itertools.count():
        first = yield from machine.space(",")
        if first in ("", ")"):
            break
        machine.unread(first)
        if first in "]}<":
            break
        text, is_whole = yield from _argument(machine)
        if not is_whole:
            return
        given = _KEYWORD.fullmatch(text)
        key = given[1] if given else parameters[place] if place < len(parameters) else str(place)
        machine.argue(f"{begun}{json.dumps(key, ensure_ascii=False)}: {_json(given[2] if given else text)}")
        begun = ", "
    machine.argue("{}" if begun == "{" else "}")


def _argument(machine: MarkedCalls) -> Steps[tuple[str, bool]]:
    """The text of an argument, and False if the text ended in it. What follows it has not been read."""
    pieces: list[str] = []
    depth = 0
    while piece := (yield _IN_VALUE):
        if piece == "<" or (not depth and piece in ",)]}"):
            machine.unread(piece)
            return "".join(pieces), True
        pieces.append(piece)
        if piece in ("'", '"'):
            yield from _string(machine, piece, pieces.append)
        elif piece in ("(", "[", "{"):
            depth += 1
        elif piece in (")", "]", "}"):
            depth -= 1
    return "", False


def _string(machine: MarkedCalls, quote: str, say: Say) -> Steps[None]:
    """Reads a string behind its first quote: up to the same quote, or to three of them if it began with three."""
    second = yield None
    third = (yield None) if second == quote else ""
    if second != quote or third != quote:
        machine.unread(third if second == quote else second)
        if second == quote:
            say(second)
            return
        end = quote
    else:
        say(quote * 2)
        end = quote * 3
    last = ""
    while char := (yield None):
        say(char)
        if char == "\\":
            say((yield None))
            last = ""
            continue
        last = (last + char)[-len(end):]
        if last == end:
            return


def _json(text: str) -> str:
    """The JSON of a Python literal, in which JSON's words count, too; other text becomes a string."""
    try:
        return json.dumps(_evaluate(ast.parse(text.strip(), mode="eval").body), ensure_ascii=False, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return json.dumps(text.strip(), ensure_ascii=False)


def _evaluate(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=word) if word in _CONSTANTS:
            return _CONSTANTS[word]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return [_evaluate(part) for part in parts]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_evaluate(key): _evaluate(value) for key, value in zip(keys, values, strict=True) if key}
    raise ValueError(f"{type(node).__name__} is no literal")
