"""Loads the files of users that register parsers."""

from __future__ import annotations

from pathlib import Path

from weft.extend.python_file import load_python_file
from weft.server.options import ServerOptions


def load_parser_plugins(options: ServerOptions) -> None:
    """Run the files of `options`. ConfigError for a file that fails."""
    for field in ("tool_parser_plugin", "reasoning_parser_plugin"):
        if path := getattr(options, field):
            load_python_file(Path(path), field=field)
