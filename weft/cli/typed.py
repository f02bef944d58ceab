"""Reads what a user types: a line, or several that were pasted together or stand between triple quotes."""

from __future__ import annotations

import importlib
import importlib.util

QUOTES = '"""'


def edit_lines() -> None:
    """Give `read_message` line editing, history and pasting of several lines, where Python has GNU readline."""
    if importlib.util.find_spec("readline"):
        readline = importlib.import_module("readline")
        if "libedit" not in (readline.__doc__ or ""):
            readline.parse_and_bind("set enable-bracketed-paste on")


def read_message(prompt: str) -> str | None:
    """A message that the user types; None at the end of the input.

    Pasted lines are one message. So are the lines between two triple quotes, which are left out.
    """
    try:
        text = input(prompt)
        if not text.startswith(QUOTES):
            return text
        lines = [text.removeprefix(QUOTES)]
        while QUOTES not in lines[-1]:
            lines.append(input("... "))
        return "\n".join(lines).replace(QUOTES, "", 1)
    except EOFError:
        print()
        return None
