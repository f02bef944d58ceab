"""`weft models`: the architectures that weft describes, with the features of each.

The table shows each family's defaults, because SAMPLE gives sizes only. `weft inspect` shows the features of one
checkpoint, whose config.json may differ from the defaults.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from weft.architectures import words
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture, families
from weft.architectures.sample import SAMPLE
from weft.cli.parser import Parser
from weft.cli.tables import print_table
from weft.errors import ConfigError

# Features of every generating architecture, because the engine or shared parts provide them.
EVERYWHERE = ("chunked prefill", "prefix cache", "preemption", "window-aware cache", "tied and untied heads",
              "float32, bfloat16, float16")


def add_arguments(parser: Parser) -> None:
    """The word filter, and --json."""
    parser.usage = "weft models [WORD] [options]"
    parser.add_argument("word", metavar="WORD", nargs="?", help="only architectures with this in their name or summary")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    word = (options.word or "").lower()
    entries = [entry for entry in map(features, families().values())
               if word in f"{entry['name']} {entry['summary']}".lower()]
    if options.json:
        print(json.dumps({"features_of_all": EVERYWHERE, "architectures": entries}, indent=2))
        return 0
    columns = ("architecture", "models", "positions", "attention", "norms", "feed-forward", "other")
    keys = ("name", "summary", "positions", "attention", "norms", "ffn", "other")
    print_table(columns, [[entry[key] for key in keys] for entry in entries], title=f"{len(entries)} architectures")
    print(f"\nAll that generate: {', '.join(EVERYWHERE)}.\nFamily defaults are shown; `weft inspect MODEL` shows a "
          "checkpoint's own, `weft models --json` the sources.")
    return 0


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
    attention = dict.fromkeys(feature for block in kinds for feature in block.mixer.features())
    return row | {
        "positions": words.positions(spec),
        "attention": ", ".join([kinds[0].mixer.describe(sizes=False), *attention]),
        "norms": words.norm_places(kinds[0]),
        "ffn": ", ".join(dict.fromkeys(words.describe(block.ffn, sizes=False) for block in kinds)),
        "other": ", ".join(words.extras(spec)) or "-",
    }
