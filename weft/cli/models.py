"""`weft models`: the architectures that run; with a name, what weft can do with it; `--parts`: what they are made of.

The parts are each family's defaults, because SAMPLE gives sizes only. `weft inspect` shows the features of one
checkpoint, whose config.json may differ from the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from dataclasses import asdict
from typing import Any

from weft.architectures import words
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture, families
from weft.architectures.sample import SAMPLE
from weft.cli.environment import plugins
from weft.cli.parser import Parser
from weft.cli.tables import print_table
from weft.compat.vllm.check import check_plugin
from weft.errors import ConfigError
from weft.extend.plugins import load_plugins
from weft.models.registry.support import COLUMNS, NO, PARTLY, YES, Support, support_rows
from weft.models.registry.table import TABLE

# Features of every generating architecture, because the engine or shared parts provide them.
EVERYWHERE = ("chunked prefill", "prefix cache", "preemption", "window-aware cache", "tied and untied heads",
              "float32, bfloat16, float16")


_HOW = {"native": "weft's own code", "transformers": "Transformers' code",
        "native or transformers": "weft's own code, or Transformers'"}
_STATES = {YES: "yes", PARTLY: "code that other architectures' tests cover, or that the engine does not use yet",
           NO: "no"}
_TABLE_CHARS = 80        # of the table's lines
_PARTS = {"ffn": "feed-forward"}


def add_arguments(parser: Parser) -> None:
    """The name or word, --parts and --json."""
    parser.usage = "weft models [NAME|WORD] [options]"
    parser.add_argument("word", metavar="NAME|WORD", nargs="?", help="an architecture: what weft can do with it; or a "
                        "word: only architectures with this in their name or summary")
    parser.add_argument("--parts", action="store_true", help="show what the families of weft's own are made of")
    parser.add_argument("--json", action="store_true", help="print JSON, with both")
    parser.add_argument("--check-plugin", metavar="PATH|PACKAGE", help="list what a plugin or model file imports from "
                        "vLLM and what weft lacks of it, without running it; ends with 1 if its import would fail")


def run(options: argparse.Namespace) -> int:
    """Print the table. Plugins run first, because they may register models."""
    if options.check_plugin is not None:
        return _check_plugin(options.check_plugin, as_json=options.json)
    load_plugins(plugins(os.environ))
    word = (options.word or "").lower()
    rows = [row for row in support_rows() if word in f"{row.name} {row.summary}".lower()]
    named = sorted((row for row in rows if row.name.lower() == word), key=lambda row: row.name != options.word)
    if options.json:
        entries = [_entry(row) for row in rows]
        print(json.dumps({"features_of_all": EVERYWHERE, "architectures": entries}, indent=2, ensure_ascii=False))
    elif named and not options.parts:
        _print_one(named[0])
    elif options.parts:
        _print_parts([features(families()[row.name]) for row in rows if row.columns["runs as"].startswith("native")])
    else:
        room = _TABLE_CHARS - 2 - max((len(row.name) for row in rows), default=0)
        print_table(("architecture", "models"), [[row.name, _models(row, room)] for row in rows],
                    title=f"{len(rows)} architectures")
        print("\n`weft models NAME` shows what weft can do with one, `weft models --parts` what\nthey are made of; "
              "docs/models.md has one table of all.")
        others = sorted({row.name for row in TABLE if word and word in row.name.lower()} - {row.name for row in rows})
        if others:
            print(f"\nKnown to vLLM, without code here: {', '.join(others)}.")
    return 0


def _models(row: Support, most: int) -> str:
    """Which models an architecture runs, in at most `most` characters."""
    summary = textwrap.shorten(row.summary.partition(":")[0], most, placeholder=" …")
    return summary or f"by {_how(row)}"


def _how(row: Support) -> str:
    return _HOW.get(row.columns["runs as"], row.columns["runs as"])


def _print_one(row: Support) -> None:
    """What weft can do with one architecture, and what it is made of."""
    cells = {"models": row.summary, "runs as": _how(row)}
    cells |= {column: _STATES[row.columns[column]] for column in COLUMNS[1:]}
    if row.columns["runs as"].startswith("native"):
        parts = features(families()[row.name])
        cells |= {_PARTS.get(name, name): parts[name] for name in ("positions", "attention", "norms", "ffn", "other",
                                                                   "source") if parts[name] not in (None, "", "-")}
    print_table((row.name, ""), [item for item in cells.items() if item[1]])
    if row.columns["runs as"].startswith("native"):
        print("\nParts are the family's defaults; `weft inspect MODEL` shows those of a checkpoint.")


def _check_plugin(place: str, *, as_json: bool) -> int:
    """Print each name that the plugin needs. Returns 1 if one stops its import."""
    needs = check_plugin(place)
    if as_json:
        print(json.dumps([asdict(need) for need in needs], indent=2))
    else:
        print_table(("line", "name", "state", "note"),
                    [[f"{need.file}:{need.line}", need.name, need.state + ", stops the import" * need.stops, need.note]
                     for need in needs], title=f"{len(needs)} names of vLLM")
    return int(any(need.stops for need in needs))


def _entry(row: Support) -> dict[str, Any]:
    """A row as plain data, with its parts if weft describes the architecture."""
    parts = features(families()[row.name]) if row.columns["runs as"].startswith("native") else {}
    return {"name": row.name, "summary": row.summary, **parts, "support": dict(row.columns)}


def _print_parts(entries: list[dict[str, Any]]) -> None:
    columns = ("architecture", "models", "positions", "attention", "norms", "feed-forward", "other")
    keys = ("name", "summary", "positions", "attention", "norms", "ffn", "other")
    print_table(columns, [[entry[key] for key in keys] for entry in entries], title=f"{len(entries)} architectures")
    print("\n" + textwrap.fill(f"All that generate: {', '.join(EVERYWHERE)}.", 80))
    print("Family defaults are shown; `weft inspect MODEL` shows a checkpoint's own,\n"
          "`weft models --json` the sources.")


def features(entry: Architecture) -> dict[str, Any]:
    """One row: name, summary, source, and features in words (None if SAMPLE lacks a key that the family needs)."""
    document = " ".join((entry.describe.__doc__ or "").split())
    row: dict[str, Any] = {"name": entry.name, "summary": entry.summary.rstrip("."),
                           "source": document.partition("Source: ")[2].rstrip(".")}
    try:
        spec = entry.describe(ConfigReader(SAMPLE, source="the sample of `weft models`"))
    except ConfigError:
        return row | dict.fromkeys(("positions", "attention", "norms", "ffn", "other"))
    kinds = [block for _, block in words.patterns(spec.blocks)]
    mixers = [block.mixer for block in kinds if block.mixer is not None]
    attention = dict.fromkeys(feature for mixer in mixers for feature in mixer.features())
    return row | {
        "positions": words.positions(spec),
        "attention": ", ".join([*dict.fromkeys(mixer.describe(sizes=False) for mixer in mixers), *attention]),
        "norms": words.norm_places(kinds[0]),
        "ffn": ", ".join(dict.fromkeys(words.describe(block.ffn, sizes=False) for block in kinds)),
        "other": ", ".join(words.extras(spec)) or "-",
    }
