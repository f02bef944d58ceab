"""What a plugin or model file needs of vLLM, and what weft lacks of it, read from its source: nothing of it runs.

Seen are `from vllm… import name` statements; names that a file reads from a module, as in `vllm.x.name`, are not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from weft.compat.vllm.asker import Asker
from weft.compat.vllm.modules import VllmModule, submodule
from weft.compat.vllm.placeholder import LaterType, Placeholder
from weft.compat.vllm.reasons import reason_for
from weft.compat.vllm.table import known_names
from weft.errors import ConfigError, nearest

STATES = ("real", "may be subclassed", "refused when used", "unknown")


@dataclass(frozen=True, slots=True)
class Need:
    """A name of vLLM that a file imports.

    state: of STATES. note: the reason or the nearest name. stops: the file calls or subclasses the name while it is
    imported, which fails.
    """

    file: str
    line: int
    name: str
    state: str
    note: str
    stops: bool


def check_plugin(place: str) -> list[Need]:
    """The needs of a file, of a folder, or of an installed package's modules. ConfigError for none of these."""
    root = VllmModule("vllm")
    return [need for path in _files(place) for need in _needs(path, root)]


def _files(place: str) -> list[Path]:
    path = Path(place)
    if not path.exists():
        found = PathFinder.find_spec(place) if place.isidentifier() else None
        if found is None or found.origin is None:
            raise ConfigError("--check-plugin", place, expected="a Python file, a folder or an installed package")
        path = Path(found.origin)
        path = path.parent if path.name == "__init__.py" else path
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _needs(path: Path, root: VllmModule) -> Iterator[Need]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ConfigError("--check-plugin", str(path), expected="Python source", hint=f"{error}.") from None
    used = _used_at_import(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.level or not f"{node.module}.".startswith("vllm."):
            continue
        for alias in node.names:
            if alias.name != "*":
                state, note = _state(root, str(node.module), alias.name)
                uses = used.get(alias.asname or alias.name, set())
                stops = ("called" in uses and state != "real") or ("subclassed" in uses and state in STATES[2:])
                stops = stops and not Asker(str(path), node.lineno).has_substitute(alias.asname or alias.name)
                yield Need(str(path), node.lineno, f"{node.module}.{alias.name}", state, note, stops)


def _state(root: VllmModule, module: str, name: str) -> tuple[str, str]:
    found = getattr(submodule(root, module), name)
    if not isinstance(found, Placeholder | LaterType):
        return "real", ""
    reason = reason_for(f"{module}.{name}")
    if isinstance(found, LaterType):
        return "may be subclassed", reason or ""
    if reason is not None:
        return "refused when used", reason
    near = nearest(name, known_names(), cutoff=0.7)
    return "unknown", f"nearest: {known_names()[near[0]]}" if near else ""


def _used_at_import(tree: ast.Module) -> dict[str, set[str]]:
    """{name: "called", "subclassed"} of what runs while the module is imported: all but the bodies of functions."""
    used: dict[str, set[str]] = {}
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += getattr(node, "decorator_list", [])
            for decorator in getattr(node, "decorator_list", []):
                _note(used, decorator, "called")
            continue
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                _note(used, base, "subclassed")
            for decorator in node.decorator_list:
                _note(used, decorator, "called")
        elif isinstance(node, ast.Call):
            _note(used, node.func, "called")
        todo += ast.iter_child_nodes(node)
    return used


def _note(used: dict[str, set[str]], node: ast.AST, use: str) -> None:
    """Note the use of the name that `node`, such as `Name`, `Name[int]` or `Name.method`, begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        used.setdefault(node.id, set()).add(use)
