"""`support_rows`: what weft can do with each architecture, from its code and from the results of its tests.

`tested.json` has what tests proved for an architecture; `tools/model_table.py` writes it. A description that serves
several names has what any of them proved. `matrix.json` has the architectures whose tiny checkpoints gave Transformers'
tokens in `tools/matrix.py`, which writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture, families, names_of
from weft.architectures.sample import SAMPLE
from weft.architectures.spec import ModelSpec
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.models.registry.entries import Entry
from weft.models.registry.registry import ModelRegistry
from weft.resolve.gguf.families import file_architectures

TESTED_FILE = Path(__file__).with_name("tested.json")
MATRIX_FILE = Path(__file__).with_name("matrix.json")
COLUMNS = ("runs as", "LoRA", "pipeline", "tensor", "quantization", "GGUF", "pooling", "media", "tested")
# How sure a cell is: code and a test of this architecture; code alone; nothing.
YES, PARTLY, NO = "yes", "partly", "no"
_MARKS = {YES: "✅", PARTLY: "⚠️", NO: ""}
# Abilities that the engine has as soon as it takes the option, and then for all models alike.
_BY_OPTION = {"LoRA": "enable_lora", "pipeline": "pipeline_parallel_size"}


@dataclass(frozen=True, slots=True)
class Support:
    """A row. columns: COLUMNS to YES, PARTLY or NO; but "runs as" to how, in words."""

    name: str
    summary: str
    columns: Mapping[str, str]


@cache
def tested() -> Mapping[str, list[str]]:
    """{architecture: what tests of it proved}."""
    return MappingProxyType(json.loads(TESTED_FILE.read_text(encoding="utf-8")) if TESTED_FILE.is_file() else {})


@cache
def compared() -> Mapping[str, str]:
    """{architecture: "native", or how Transformers' code ran} of all that gave the tokens of Transformers."""
    return MappingProxyType(json.loads(MATRIX_FILE.read_text(encoding="utf-8")) if MATRIX_FILE.is_file() else {})


def mark(cell: str) -> str:
    """✅, ⚠️ or nothing for a cell; other text as it is."""
    return _MARKS.get(cell, cell)


def support_rows() -> list[Support]:
    """A row for each architecture: weft's families, what this process registered, what Transformers' code ran."""
    rows = {name: _family(entry) for name, entry in families().items()}
    run = {name for name, proven in tested().items() if "transformers" in proven} | compared().keys()
    rows |= {name: Support(name, "", _columns({"runs as": "transformers", "tested": YES}))
             for name in sorted(run) if name.isidentifier() and name not in rows}
    rows |= {name: _registered(name, entry) for name, entry in ModelRegistry.models.items()}
    return [rows[name] for name in sorted(rows)]


def _family(entry: Architecture) -> Support:
    spec = _sample_spec(entry)
    proven = {column for name in names_of(entry) for column in tested().get(name, ())}
    has_gguf = spec is not None and spec.gguf_names is not None and not file_architectures().isdisjoint(names_of(entry))
    cells = {
        "runs as": "native or transformers" if "transformers" in proven else "native",
        "tensor": (YES if _has_option("tensor_parallel_size") else PARTLY) if "tensor" in proven else NO,
        "quantization": YES if "quantization" in proven else PARTLY,
        "GGUF": (YES if "gguf" in proven else PARTLY) if has_gguf else NO,
        "pooling": YES if "pooling" in proven else PARTLY,
        "tested": YES if "tested" in proven or not compared().keys().isdisjoint(names_of(entry)) else PARTLY,
    }
    return Support(entry.name, entry.summary.rstrip("."), _columns(cells))


def _registered(name: str, entry: Entry) -> Support:
    """A model of a user or plugin, of which only its class or name is known here."""
    try:
        info = entry.inspect_model_cls()
    except ConfigError as error:
        return Support(name, f"registered as {entry.words()}, but: {error}", _columns({"runs as": "nothing"}))
    kind = "described" if info.is_described else "programmed"
    return Support(name, f"registered as {entry.words()}", _columns({"runs as": kind, "quantization": PARTLY}))


def _columns(cells: Mapping[str, str]) -> dict[str, str]:
    by_option = {column: PARTLY if _has_option(option) else NO for column, option in _BY_OPTION.items()}
    return {column: cells.get(column, by_option.get(column, NO)) for column in COLUMNS}


def _has_option(name: str) -> bool:
    return name in {field.name for field in fields(EngineArgs)}


def _sample_spec(entry: Architecture) -> ModelSpec | None:
    try:
        return entry.describe(ConfigReader(SAMPLE))
    except ConfigError:      # the sample lacks a key that the family needs
        return None
