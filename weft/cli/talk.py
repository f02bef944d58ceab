"""What `weft run`, `weft chat` and `weft complete` share: options, the model behind them, and how an answer is printed.

The model is behind a server, or in an engine that the command starts.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from weft.cli.endpoint import DEFAULT_URL, Endpoint, ServerEndpoint, Thought
from weft.cli.environment import api_key
from weft.cli.options import add_engine_options, engine_args, engine_options_given
from weft.cli.parser import Parser
from weft.config.flags import human_int, json_or_text
from weft.errors import ConfigError

# Sampling fields of requests: {name: (type, placeholder, help)}.
SAMPLING: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "max_tokens": (human_int, "N", "longest answer in tokens"),
    "temperature": (float, "X", "0: always the likeliest token"),
    "top_p": (float, "X", "draw from the likeliest tokens that together have this probability"),
    "top_k": (human_int, "N", "draw from this many likeliest tokens"),
    "min_p": (float, "X", "draw from tokens at least this likely, as a share of the likeliest one's probability"),
    "repetition_penalty": (float, "X", "above 1: tokens of prompt and answer become less likely"),
    "presence_penalty": (float, "X", "above 0: tokens of the answer become less likely"),
    "frequency_penalty": (float, "X", "above 0: tokens of the answer become less likely with each use"),
    "seed": (human_int, "N", "the same seed gives the same answer"),
    "min_tokens": (human_int, "N", "shortest answer in tokens"),
    "stop": (json_or_text, "TEXT", "end the answer before this text; a JSON list: before any of these"),
}


def add_talk_options(parser: Parser) -> None:
    """Options of a command that talks to a server or to an engine of its own."""
    where = parser.add_argument_group("server")
    where.add_argument("--url", metavar="URL", help=f"an OpenAI-compatible server (default: {DEFAULT_URL}, or the "
                                                    "model that comes with weft when no server is there)")
    where.add_argument("--model-name", metavar="NAME", help="which of the server's models (default: its first)")
    where.add_argument("--api-key", metavar="KEY", help="the server's key (default: WEFT_API_KEY)")
    add_answer_options(parser)


def add_answer_options(parser: Parser) -> None:
    """Options of answers, and those of an engine that the command starts."""
    parser.add_argument("--stats", action="store_true", help="say how long each answer took, on stderr")
    sampling = parser.add_argument_group("sampling", "Without a value, the model's own default or the server's holds.")
    for name, (convert, metavar, text) in SAMPLING.items():
        sampling.add_argument("--" + name.replace("_", "-"), dest=name, type=convert, metavar=metavar, help=text,
                              default=argparse.SUPPRESS)
    add_engine_options(parser, without=("seed",))


def one_text(name: str, text: str | None, quick: str | None) -> str | None:
    """The text to answer, from the argument `name` or from `--quick`. ConfigError for both."""
    if text is not None and quick is not None:
        raise ConfigError("--quick", quick, expected=f"one of {name} and --quick", hint=f"{name} is {text!r}; a "
                          "model is named by --model.")
    return text if quick is None else quick


def sampling_given(options: argparse.Namespace, **defaults: Any) -> dict[str, Any]:
    """{field: value} of the sampling options on the command line, over `defaults`."""
    return defaults | {name: getattr(options, name) for name in SAMPLING if hasattr(options, name)}


def open_endpoint(options: argparse.Namespace) -> Endpoint:
    """The engine or server that the options name, else the default server, else an engine with the embedded model.

    ConfigError for engine options without `--model`: a server's engine has its own.
    """
    given = engine_options_given(options)
    if "model" in given:
        return own_engine(options)
    if given:
        name = next(iter(given))
        raise ConfigError(name, given[name], expected="no engine option without --model", hint="It belongs to an "
                          "engine of this command: name the model (--model weft-embedded is the one that comes along).")
    key = options.api_key or api_key(os.environ)
    try:
        return ServerEndpoint(options.url or DEFAULT_URL, api_key=key, model_name=options.model_name)
    except ConnectionError as error:
        # Only a refused connection (no server there) falls back to an engine; a server's error is reported.
        if options.url is not None or not _is_refused(error):
            raise
    print(f"No server at {DEFAULT_URL}: starting the model that comes with weft.", file=sys.stderr)
    return own_engine(options)


def own_engine(options: argparse.Namespace) -> Endpoint:
    """An engine in a child process of this command, from its engine options."""
    from weft.cli.local_endpoint import LocalEndpoint

    return LocalEndpoint(engine_args(options))


def show(pieces: Iterable[str]) -> str:
    """Prints the pieces of text as they come; returns the whole text. Reasoning is shown faint, on a terminal only."""
    said, has_thought = [], False
    for piece in pieces:
        if not isinstance(piece, Thought):
            print("\n" * (has_thought and bool(piece)) + piece, end="", flush=True)
            has_thought = has_thought and not piece
            said.append(piece)
        elif piece and sys.stdout.isatty():
            print(f"\033[2m{piece}\033[0m", end="", flush=True)
            has_thought = True
    print()
    return "".join(said)


def complete(endpoint: Endpoint, text: str, settings: Mapping[str, Any], *, stats: bool) -> None:
    """Prints the model's continuation of `text`."""
    show(endpoint.complete(text, settings))
    print_stats(endpoint, stats)


def print_stats(endpoint: Endpoint, wanted: bool) -> None:
    """Prints counts and times of the last answer to stderr, if wanted."""
    if wanted:
        print(f"[{endpoint.usage.summary()}]", file=sys.stderr)


def _is_refused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False
