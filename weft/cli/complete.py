"""`weft complete`: continues texts, from the command line, from a pipe, or message by message from the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from weft.cli.endpoint import Endpoint
from weft.cli.parser import Parser
from weft.cli.talk import add_talk_options, complete, one_text, open_endpoint, sampling_given
from weft.cli.typed import edit_lines, read_message

MAX_TOKENS = 128      # a text that a model continues may have no end


def add_arguments(parser: Parser) -> None:
    """The server or model, and the text."""
    parser.usage = "weft complete [TEXT] [options]"
    parser.add_argument("text", metavar="TEXT", nargs="?", help="continue this one text and end")
    parser.add_argument("-q", "--quick", metavar="TEXT", help="the same as TEXT")
    add_talk_options(parser)


def run(options: argparse.Namespace) -> int:
    """Continue texts until the input ends."""
    text = one_text("TEXT", options.text, options.quick)
    endpoint = open_endpoint(options)
    try:
        continue_texts(endpoint, text, sampling_given(options, max_tokens=MAX_TOKENS), stats=options.stats)
    finally:
        endpoint.close()
    return 0


def continue_texts(endpoint: Endpoint, text: str | None, settings: Mapping[str, Any], *, stats: bool) -> None:
    """Continue one text, from the argument or a pipe, or each that the user types."""
    if text is not None:
        complete(endpoint, text, settings, stats=stats)
    elif not sys.stdin.isatty():
        complete(endpoint, sys.stdin.read().rstrip("\n"), settings, stats=stats)
    else:
        edit_lines()
        print(f"{endpoint.name}. Type the beginning of a text; Ctrl-D ends.")
        while text := read_message("> "):
            complete(endpoint, text, settings, stats=stats)
