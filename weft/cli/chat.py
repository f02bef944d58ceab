"""`weft chat`: a conversation in the terminal, one question with --quick, or one message from a pipe.

The command talks to a server. If none was named and none runs, it starts an engine with the model that comes with weft.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any

from weft.cli.endpoint import DEFAULT_URL, Endpoint, ServerEndpoint
from weft.cli.environment import api_key
from weft.cli.parser import Parser
from weft.config.engine_args import EngineArgs
from weft.config.flags import human_int
from weft.errors import WeftError

HELP = "Ctrl-C stops an answer, Ctrl-D ends. /clear forgets what was said."


def add_arguments(parser: Parser) -> None:
    """The server or model, and the messages."""
    add_talk_options(parser)
    parser.add_argument("-q", "--quick", metavar="MESSAGE", help="answer this one message and end")
    parser.add_argument("--system-prompt", metavar="TEXT", help="what the model is told first")


def add_talk_options(parser: Parser, *, max_tokens: int | None = None) -> None:
    """Options that `chat` and `complete` have in common."""
    parser.add_argument("--url", metavar="URL", help=f"an OpenAI-compatible server (default: {DEFAULT_URL}, or the "
                                                     "model that comes with weft when no server is there)")
    parser.add_argument("--model-name", metavar="NAME", help="which of the server's models (default: its first)")
    parser.add_argument("--api-key", metavar="KEY", help="the server's key (default: WEFT_API_KEY)")
    parser.add_argument("--model", metavar="DIR", help="no server: run this checkpoint")
    parser.add_argument("--max-tokens", type=human_int, default=max_tokens, metavar="N",
                        help=f"longest answer (default: {max_tokens or 'what the context leaves'})")
    parser.add_argument("--stats", action="store_true", help="say how long each answer took, on stderr")


def run(options: argparse.Namespace) -> int:
    """Talk until the input ends."""
    endpoint = open_endpoint(options)
    messages = [{"role": "system", "content": options.system_prompt}] if options.system_prompt else []
    try:
        if options.quick is not None:
            _turn(endpoint, messages, options.quick, options)
        elif not sys.stdin.isatty():
            _turn(endpoint, messages, sys.stdin.read().strip(), options)
        else:
            _converse(endpoint, messages, options)
    finally:
        endpoint.close()
    return 0


def open_endpoint(options: argparse.Namespace) -> Endpoint:
    """The server named by the options, else the default server, else an engine in a child process."""
    if options.model is not None:
        return _local(options.model)
    key = options.api_key or api_key(os.environ)
    try:
        return ServerEndpoint(options.url or DEFAULT_URL, api_key=key, model_name=options.model_name)
    except ConnectionError as error:
        # Only a refused connection (no server there) falls back to an engine; a server's error is reported.
        if options.url is not None or not _is_refused(error):
            raise
    print(f"No server at {DEFAULT_URL}: starting the model that comes with weft.", file=sys.stderr)
    return _local(None)


def show(pieces: Iterator[str]) -> str:
    """Prints the pieces of text as they come; returns the whole text."""
    said = []
    for piece in pieces:
        print(piece, end="", flush=True)
        said.append(piece)
    print()
    return "".join(said)


def read_line(prompt: str) -> str | None:
    """A line that the user types; None at the end of the input."""
    try:
        return input(prompt)
    except EOFError:
        print()
        return None


def _local(model: str | None) -> Endpoint:
    from weft.cli.local_endpoint import LocalEndpoint

    return LocalEndpoint(EngineArgs(model=model, use_tqdm_on_load=False))


def _is_refused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _converse(endpoint: Endpoint, messages: list[dict[str, Any]], options: argparse.Namespace) -> None:
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")      # gives input() its line editing and history
    print(f"{endpoint.name}. {HELP}")
    start = list(messages)
    while (text := read_line("> ")) is not None:
        if text.strip() == "/clear":
            messages[:] = start
        elif text.strip():
            try:
                _turn(endpoint, messages, text, options)
            except KeyboardInterrupt:
                print()
                messages.pop()
            except (WeftError, OSError) as error:
                print(f"weft: error: {error}", file=sys.stderr)
                messages.pop()


def _turn(endpoint: Endpoint, messages: list[dict[str, Any]], text: str, options: argparse.Namespace) -> None:
    messages.append({"role": "user", "content": text})
    answer = show(endpoint.chat(messages, options.max_tokens))
    messages.append({"role": "assistant", "content": answer})
    if options.stats:
        print(f"[{endpoint.usage.summary()}]", file=sys.stderr)
