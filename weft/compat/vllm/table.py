"""The table of names: (path in vLLM, name) -> "weft.module:Name". Strings: `modules.py` resolves them when asked."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

from weft.compat.vllm.tables.engine import ENGINE
from weft.compat.vllm.tables.later import LATER
from weft.compat.vllm.tables.layers import LAYERS
from weft.compat.vllm.tables.media import MEDIA
from weft.compat.vllm.tables.models import MODELS
from weft.compat.vllm.tables.parsers import PARSERS
from weft.compat.vllm.tables.row import Row
from weft.compat.vllm.tables.runtime import RUNTIME
from weft.compat.vllm.tables.scripts import SCRIPTS

ROWS: tuple[Row, ...] = (*LAYERS, *MODELS, *RUNTIME, *MEDIA, *ENGINE, *SCRIPTS, *PARSERS)


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
def whole_modules() -> MappingProxyType[str, tuple[str, ...]]:
    """{path: weft modules} of the paths at which every name of these modules is found; the first that has it counts."""
    found: dict[str, tuple[str, ...]] = {}
    for row in ROWS:
        for path in row.paths if row.names == "*" else ():
            found[path] = (*found.get(path, ()), row.home)
    return MappingProxyType(found)


@cache
def module_paths() -> frozenset[str]:
    """Every module path of the table, with its parents."""
    paths = {path for path, _ in names()} | set(whole_modules()) | set(LATER)
    return frozenset(".".join(path.split(".")[:end]) for path in paths for end in range(1, path.count(".") + 2))


@cache
def known_names() -> MappingProxyType[str, str]:
    """{name: "weft.module:Name"} for messages that suggest a name."""
    return MappingProxyType({name: target for (_, name), target in names().items()})
