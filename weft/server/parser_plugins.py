"""Loads the files of users that register parsers, and checks the names of parsers before a model is loaded."""

from __future__ import annotations

from pathlib import Path

from weft.extend.plugins import GROUPS, installed
from weft.extend.python_file import load_python_file
from weft.server.options import ServerOptions
from weft.text.parsing.registry import REASONING_PARSERS, TOOL_PARSERS


def load_parser_plugins(options: ServerOptions, reasoning_parser: str | None) -> None:
    """Run the files of `options`. ConfigError for a file that fails, and for the name of a parser that nobody has.

    reasoning_parser: the engine's option.

    Where plugins are installed, which may register parsers, too, names are checked after these have run (`app.py`).
    """
    for field in ("tool_parser_plugin", "reasoning_parser_plugin"):
        if path := getattr(options, field):
            load_python_file(Path(path), field=field)
    if installed(*GROUPS):
        return
    for registry, name in ((TOOL_PARSERS, options.tool_call_parser), (REASONING_PARSERS, reasoning_parser)):
        if name:
            registry.find(name)
