"""Which line of which file asks for a name, and whether the file says itself what to do without the name."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType

_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True, slots=True)
class Asker:
    """A line of a file, printed as file:line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def has_substitute(self, name: str) -> bool:
        """Whether the line is in a `try` with an ImportError handler that gives `name` another value."""
        return name in _substituted(self.file).get(self.line, ())


def asker() -> Asker:
    """The innermost running line that is neither of this package nor of Python's import machinery."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_machinery(frame):
        frame = frame.f_back
    return Asker("<unknown>", 0) if frame is None else Asker(frame.f_code.co_filename, frame.f_lineno)


def _is_machinery(frame: FrameType) -> bool:
    file, name = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
    return file.startswith("<frozen importlib") or name.startswith(("weft.compat", "importlib", "typing", "functools"))


@lru_cache(maxsize=32)
def _substituted(file: str) -> dict[int, set[str]]:
    """{line: names that a handler of ImportError around the line gives another value}."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    found: dict[int, set[str]] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Try):
            continue
        names = {name for handler in node.handlers if _handles_import(handler) for name in _bound(handler.body)}
        for inside in node.body:
            for line in range(inside.lineno, (inside.end_lineno or inside.lineno) + 1):
                found.setdefault(line, set()).update(names)
    return found


def _handles_import(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in _IMPORT_ERRORS) for kind in kinds)


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
