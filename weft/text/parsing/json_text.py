"""Coroutines that read JSON from a `Machine`'s text and pass it on as it is written, finished or not.

They look for the end of a value, and do not check it: what a model wrote wrongly is passed on as it is.
"""

from __future__ import annotations

import json
import re

from weft.text.parsing.machine import Machine, Say, Steps

_IN_STRING = re.compile(r'[^"\\]+')
_IN_NEST = re.compile(r'[^"{}\[\]<]+')
_WORD = re.compile(r"[\w.+-]+")


def read_value(machine: Machine, first: str, say: Say) -> Steps[None]:
    """Passes the value that begins with `first`, which has been read, to `say`.

    Outside of strings a "<" ends the value, because JSON has none there: a mark of the format follows.
    """
    say(first)
    if first == '"':
        yield from _rest_of_string(say)
    elif first in ("{", "["):
        yield from _rest_of_nest(machine, say)
    else:
        while piece := (yield _WORD):
            if not _WORD.match(piece):
                machine.unread(piece)
                return
            say(piece)


def read_string(say: Say | None = None) -> Steps[str]:
    """Reads a string whose opening quote has been read. Returns its text; `say` gets what is read."""
    pieces: list[str] = ['"']

    def keep(piece: str) -> None:
        pieces.append(piece)
        if say is not None:
            say(piece)

    yield from _rest_of_string(keep)
    return unquoted("".join(pieces))


def unquoted(text: str) -> str:
    """The text of a JSON string; of a broken one what stands between its quotes."""
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return text[1:].removesuffix('"')


def quoted(text: str) -> str:
    """`text` as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _rest_of_string(say: Say) -> Steps[None]:
    while piece := (yield _IN_STRING):
        say(piece)
        if piece == '"':
            return
        if piece == "\\":
            say((yield None))


def _rest_of_nest(machine: Machine, say: Say) -> Steps[None]:
    depth = 1
    while depth and (piece := (yield _IN_NEST)):
        if piece == "<":
            machine.unread(piece)
            return
        say(piece)
        if piece == '"':
            yield from _rest_of_string(say)
        elif piece in ("{", "["):
            depth += 1
        elif piece in ("}", "]"):
            depth -= 1
