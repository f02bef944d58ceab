"""What a plugin or model file needs of vLLM, and what weft lacks of it, read from its source: nothing of it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from weft.compat.vllm.asked_names import Asked, asked_names, unbound_names, used_at_import, uses_of
from weft.compat.vllm.asker import Asker
from weft.compat.vllm.modules import VllmModule, submodule
from weft.compat.vllm.placeholder import LaterType, Placeholder
from weft.compat.vllm.reasons import reason_for
from weft.compat.vllm.table import known_names, module_paths
from weft.errors import ConfigError, NotBuiltError, nearest

STATES = ("real", "may be subclassed", "refused when used", "unknown")


@dataclass(frozen=True, slots=True)
class Need:
    """A name of vLLM that a file imports, or reads from a module; "module.*" for all names of one.

    state: of STATES. note: the reason or the nearest name. stops: the file calls, subclasses or sets the name while it
    is imported, which fails.
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
    used = used_at_import(tree)
    for asked in asked_names(tree, lambda name: name in module_paths()):
        if asked.name == "*":
            yield from _needs_of_all(path, asked, root, tree)
            continue
        state, note = _state(root, asked.module, asked.name)
        if asked.is_set:
            state, note = "refused when used", "weft's own modules never look here, so the new value would do nothing"
        uses = uses_of(used, asked.text)
        stops = ("called" in uses and state != "real") or ("subclassed" in uses and state in STATES[2:])
        stops = stops or (asked.is_set and "set" in uses)
        stops = stops and not Asker(str(path), asked.line).has_substitute(asked.text)
        yield Need(str(path), asked.line, f"{asked.module}.{asked.name}", state, note, stops)


def _needs_of_all(path: Path, asked: Asked, root: VllmModule, tree: ast.Module) -> Iterator[Need]:
    """Of `from module import *`: the names of the module that the file uses; or that the module is not known."""
    try:
        given = set(submodule(root, asked.module).__all__)
    except NotBuiltError:
        note = reason_for(asked.module) or "weft does not know which names the module has"
        yield Need(str(path), asked.line, f"{asked.module}.*", "refused when used", note, True)
        return
    names = sorted(given & unbound_names(tree).keys())
    yield Need(str(path), asked.line, f"{asked.module}.*", "real", f"used: {', '.join(names) or 'nothing'}", False)


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
