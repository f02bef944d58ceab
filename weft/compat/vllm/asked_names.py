"""The names of vLLM that a file's source asks for, and what it does with names while it is imported. Nothing runs.

Seen are `from vllm.x import name`, `from vllm.x import *`, and names read from a module: `import vllm.x as m; m.name`.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """A name of a module of vLLM. text: how the file writes it: "name", or "m.name".

    name "*": all names of the module. is_set: the file gives the module another value under this name.
    """

    line: int
    module: str
    name: str
    text: str
    is_set: bool = False


def asked_names(tree: ast.Module, is_module: Callable[[str], bool]) -> list[Asked]:
    """Each name once for each import, and once for each module that it is read from. is_module: of a dotted path."""
    found = [*_from_imports(tree), *_from_modules(tree, is_module)]
    return sorted(found, key=lambda asked: asked.line)


def _is_vllm(name: str | None) -> bool:
    return f"{name}.".startswith("vllm.")


def _from_imports(tree: ast.Module) -> Iterator[Asked]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and _is_vllm(node.module):
            for alias in node.names:
                yield Asked(node.lineno, str(node.module), alias.name, alias.asname or alias.name)


def _from_modules(tree: ast.Module, is_module: Callable[[str], bool]) -> Iterator[Asked]:
    modules, imported = _modules(tree, is_module)
    seen: set[tuple[str, str, bool]] = set()
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        parts = dotted(node) if isinstance(node, ast.Attribute) and id(node) not in inner else None
        if parts is None or parts[0] not in modules:
            continue
        path, rest = modules[parts[0]], parts[1:]
        while len(rest) > 1 and (f"{path}.{rest[0]}" in imported or is_module(f"{path}.{rest[0]}")):
            path, rest = f"{path}.{rest[0]}", rest[1:]
        assert isinstance(node, ast.Attribute)
        is_set = isinstance(node.ctx, ast.Store) and len(rest) == 1
        if f"{path}.{rest[0]}" in imported or (path, rest[0], is_set) in seen:
            continue
        seen.add((path, rest[0], is_set))
        yield Asked(node.lineno, path, rest[0], ".".join(parts[:len(parts) - len(rest) + 1]), is_set)


def _modules(tree: ast.Module, is_module: Callable[[str], bool]) -> tuple[dict[str, str], set[str]]:
    """({local name: module of vLLM that it means}, every module that is imported, with those above it)."""
    modules: dict[str, str] = {}
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in (alias for alias in node.names if _is_vllm(alias.name)):
                modules[alias.asname or "vllm"] = alias.name if alias.asname else "vllm"
                parts = alias.name.split(".")
                imported |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
        elif isinstance(node, ast.ImportFrom) and not node.level and _is_vllm(node.module):
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
                        if is_module(f"{node.module}.{alias.name}")}
    return modules, imported


def dotted(node: ast.AST) -> list[str] | None:
    """["a", "b", "c"] of `a.b.c`, `a.b[int].c` and the like; None for what does not begin with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else None


def unbound_names(tree: ast.Module) -> dict[str, int]:
    """{name: line of its first use} of what the file uses and gives no value itself."""
    bound, used = set(dir(builtins)) | {"__file__"}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.Name):
            bound.add(node.id)
    return {name: line for name, line in used.items() if name not in bound}


def used_at_import(tree: ast.Module) -> dict[str, set[str]]:
    """{dotted name: "called", "subclassed"} of what runs while the module is imported: all but the bodies of functions.
    """
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
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                _note(used, target, "set")
        todo += ast.iter_child_nodes(node)
    return used


def uses_of(used: dict[str, set[str]], text: str) -> set[str]:
    """What is done with a name, or with what is read from it."""
    return {use for name, uses in used.items() if name == text or name.startswith(f"{text}.") for use in uses}


def _note(used: dict[str, set[str]], node: ast.AST, use: str) -> None:
    parts = dotted(node)
    if parts is not None:
        used.setdefault(".".join(parts), set()).add(use)
