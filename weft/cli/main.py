"""The `weft` command: finds the subcommand, runs it, and turns an error into one line and an exit status.

Only the requested subcommand's module is imported, so that `weft --version` and `--help` are fast.
Exit status: 0 done, 1 an error of weft or of a file, 2 a wrong command line, 130 interrupted, 141
stdout was closed by its reader.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Sequence

from weft.cli.config_file import with_config_file
from weft.cli.environment import configure_logging
from weft.cli.parser import Parser, spelled
from weft.cli.streams import open_missing_streams
from weft.errors import WeftError, nearest
from weft.version import __version__

# Command -> (module, summary). The module has add_arguments(parser) and run(options) -> exit status.
COMMANDS = {
    "serve": ("weft.cli.serve", "answer clients of OpenAI's and Anthropic's APIs, with a playground page"),
    "run": ("weft.cli.run", "download a model if need be, load it and talk to it"),
    "chat": ("weft.cli.chat", "talk to a model in the terminal"),
    "complete": ("weft.cli.complete", "let a model continue a text"),
    "embed": ("weft.cli.embed", "turn texts into vectors"),
    "rerank": ("weft.cli.rerank", "rank texts by how well they fit a query"),
    "transcribe": ("weft.cli.transcribe", "write down what a file of audio says"),
    "bench latency": ("weft.cli.bench.latency", "measure the time of one batch"),
    "bench throughput": ("weft.cli.bench.throughput", "measure the tokens per second of many requests"),
    "bench backends": ("weft.cli.bench.backends", "compare a model by weft's description and through Transformers"),
    "bench serve": ("weft.cli.bench.serve", "measure a running server as its clients see it"),
    "models": ("weft.cli.models", "list the architectures that weft runs"),
    "inspect": ("weft.cli.inspect", "explain a checkpoint without reading its weights"),
    "verify": ("weft.cli.verify", "compare a model with Transformers, and name the part that differs"),
    "describe": ("weft.cli.describe", "find the description of an architecture by its numbers"),
    "pull": ("weft.cli.pull", "download a model"),
    "cache list": ("weft.cli.cache.listing", "show the models that are downloaded"),
    "cache remove": ("weft.cli.cache.remove", "delete downloaded models"),
    "run-batch": ("weft.cli.run_batch", "answer a file of OpenAI batch requests"),
}
TALKS = ("run", "chat", "complete", "transcribe")      # their output is to be read: only warnings are logged beside it
EXIT_STATUS = "Exit status: 0 done, 1 an error, 2 a wrong command line, 130 interrupted, 141 stdout was closed."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return the exit status."""
    open_missing_streams()
    try:
        status = _status(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()      # a reader that has gone is found here; at exit, Python would print an error of its own
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # for the flush at exit
        return 141


def build_parser(command: str) -> Parser:
    """The parser of `command`, a key of COMMANDS."""
    module, summary = COMMANDS[command]
    parser = Parser(prog=f"weft {command}", description=f"{summary[0].upper()}{summary[1:]}.",
                    usage=f"weft {command} [options]")
    importlib.import_module(module).add_arguments(parser)
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def overview(commands: Iterable[str] = COMMANDS, prog: str = "weft") -> str:
    """The text of `weft --help`."""
    lines = [f"usage: {prog} COMMAND [options]", "", "Runs language models: any checkpoint in, tokens out.", "",
             "commands:"]
    lines += [f"  {name:<18}{COMMANDS[name][1]}" for name in commands]
    lines += ["", "options:", "  -h, --help        show this; `weft COMMAND --help` shows a command's options",
              "  --version         print the version", "  --traceback       show where an error came from", "",
              EXIT_STATUS]
    return "\n".join(lines)


def _status(arguments: list[str]) -> int:
    """Run the command and return the exit status. BrokenPipeError when the reader of stdout has closed the pipe."""
    wants_traceback = "--traceback" in arguments
    try:
        return _run([a for a in arguments if a != "--traceback"])
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except KeyboardInterrupt as interruption:
        if str(interruption):       # a text says what the interrupted command has left behind
            print(f"\nweft: {interruption}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except (WeftError, OSError) as error:
        if wants_traceback:
            traceback.print_exc()
        else:
            print(f"weft: error: {error}", file=sys.stderr)
        return 1


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0 if argv else 2
    if argv[0] in ("--version", "-V"):
        print(f"weft {__version__}")
        return 0
    command, rest = _split(argv)
    parser = build_parser(command)
    options, extras = parser.parse_known_intermixed_args(with_config_file(spelled(rest), parser))
    parser.refuse_unknown(extras)
    configure_logging(os.environ, default="WARNING" if command in TALKS else "INFO")
    return importlib.import_module(COMMANDS[command][0]).run(options)


def _split(argv: list[str]) -> tuple[str, list[str]]:
    """(command, other arguments). Exits if there is no such command."""
    group = [name for name in COMMANDS if name.startswith(argv[0] + " ")]
    if group and (len(argv) == 1 or argv[1] in ("-h", "--help")):
        print(overview(group))
        sys.exit(0 if len(argv) > 1 else 2)
    words = 2 if group else 1
    command = " ".join(argv[:words])
    if command not in COMMANDS:
        near = nearest(command, group or {n.split()[0] for n in COMMANDS})
        what = "option" if command.startswith("-") else "command"
        print(f"weft: error: unknown {what} {command!r}" + (f"; did you mean {near[0]!r}" if near else "") +
              "? See weft --help.", file=sys.stderr)
        sys.exit(2)
    return command, argv[words:]


if __name__ == "__main__":
    sys.exit(main())
