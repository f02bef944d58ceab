"""The table of names: (path in vLLM, name) -> "weft.module:Name". Strings: `modules.py` resolves them when asked."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

from weft.compat.vllm.tables.engine import ENGINE
from weft.compat.vllm.tables.later import LATER
from weft.compat.vllm.tables.layers import LAYERS
from weft.compat.vllm.tables.models import MODELS
from weft.compat.vllm.tables.row import Row
from weft.compat.vllm.tables.runtime import RUNTIME
from weft.compat.vllm.tables.scripts import SCRIPTS

ROWS: tuple[Row, ...] = (*LAYERS, *MODELS, *RUNTIME, *ENGINE, *SCRIPTS)


@cache
def names() -> MappingProxyType[tuple[str, str], str]:
    """{(path, name): "weft.module:Name"} of every row. ValueError for a (path, name) with two meanings."""
    found: dict[tuple[str, str], str] = {}
    for row in ROWS:
        for path in row.paths:
            for name, target in row.targets():
                if found.setdefault((path, name), target) != target:
                    raise ValueError(f"{path}.{name} is both {found[path, name]} and {target}")
    return MappingProxyType(found)


@cache
def whole_modules() -> MappingProxyType[str, str]:
    """{path: weft module} of the modules whose every name is the weft module's name."""
    return MappingProxyType({path: row.home for row in ROWS if row.names == "*" for path in row.paths})


@cache
def later() -> MappingProxyType[tuple[str, str], str]:
    """{(path, name): reason} of the classes that may be subclassed although weft cannot make objects of them yet."""
    return MappingProxyType({(path, name): reason for reason, paths, words in LATER
                             for path in paths for name in words.split()})


@cache
def module_paths() -> frozenset[str]:
    """Every module path of the table, with its parents."""
    paths = {path for path, _ in (*names(), *later())} | set(whole_modules())
    return frozenset(".".join(path.split(".")[:end]) for path in paths for end in range(1, path.count(".") + 2))


@cache
def known_names() -> MappingProxyType[str, str]:
    """{name: "weft.module:Name"} for messages that suggest a name."""
    return MappingProxyType({name: target for (_, name), target in names().items()})
