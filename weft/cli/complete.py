"""`weft complete`: continues texts, from --quick, from a pipe, or line by line from the terminal."""

from __future__ import annotations

import argparse
import sys

from weft.cli.chat import add_talk_options, open_endpoint, read_line, show
from weft.cli.endpoint import Endpoint
from weft.cli.parser import Parser


def add_arguments(parser: Parser) -> None:
    """The server or model, and the text."""
    add_talk_options(parser, max_tokens=128)
    parser.add_argument("-q", "--quick", metavar="TEXT", help="continue this one text and end")


def run(options: argparse.Namespace) -> int:
    """Continue texts until the input ends."""
    endpoint = open_endpoint(options)
    try:
        if options.quick is not None:
            _continue(endpoint, options.quick, options)
        elif not sys.stdin.isatty():
            _continue(endpoint, sys.stdin.read().rstrip("\n"), options)
        else:
            print(f"{endpoint.name}. Type the beginning of a text; Ctrl-D ends.")
            while text := read_line("> "):
                _continue(endpoint, text, options)
    finally:
        endpoint.close()
    return 0


def _continue(endpoint: Endpoint, text: str, options: argparse.Namespace) -> None:
    show(endpoint.complete(text, options.max_tokens))
    if options.stats:
        print(f"[{endpoint.usage.summary()}]", file=sys.stderr)
