"""A row of the table: names of one weft module, and every path of vLLM that they are or were found at."""

from __future__ import annotations

from collections.abc import Iterator


class Row:
    """home: a weft module. names: words, each `Name` or `VllmName=WeftName`; "*": every name of the module."""

    def __init__(self, home: str, names: str, *paths: str) -> None:
        self.home, self.names, self.paths = home, names, paths

    def targets(self) -> Iterator[tuple[str, str]]:
        """(name in vLLM, "weft.module:Name") of each name."""
        for word in () if self.names == "*" else self.names.split():
            name, _, own = word.partition("=")
            yield name, f"{self.home}:{own or name}"
