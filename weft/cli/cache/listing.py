"""`weft cache list`: the downloaded models with their revisions, sizes and last use."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from weft.cli.parser import Parser
from weft.cli.tables import print_table
from weft.config.human_bytes import human_bytes

if TYPE_CHECKING:
    from weft.resolve.sources.cached import CachedModel

COLUMNS = ("model", "revision", "refs", "size", "files", "last used", "from")
_SHORT = 12      # shown characters of a commit hash


def add_arguments(parser: Parser) -> None:
    """The name filter, the folder, and --json."""
    parser.usage = "weft cache list [WORD] [options]"
    parser.add_argument("word", metavar="WORD", nargs="?", help="only models with this in their name")
    parser.add_argument("--download-dir", metavar="TEXT", help="the folder to look in, instead of the usual caches")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    from weft.resolve.sources.cached import cached_models

    models = [model for model in cached_models(options.download_dir)
              if (options.word or "").lower() in model.name.lower()]
    if options.json:
        print(json.dumps([as_json(model) for model in models], indent=2))
        return 0
    if not models:
        print("No models are downloaded." if options.word is None else f"No model has {options.word!r} in its name.")
        return 0
    print_models(models)
    return 0


def print_models(models: list[CachedModel]) -> None:
    """Prints a table of models, with the total size in the title."""
    rows = [[model.name, model.revision[:_SHORT], ", ".join(model.refs) or "-", human_bytes(model.size_bytes),
             model.num_files, _day(model.last_used), model.source] for model in models]
    total = human_bytes(sum(model.size_bytes for model in models))
    print_table(COLUMNS, rows, title=f"{len(models)} revisions, {total}", right=("size", "files"))


def as_json(model: CachedModel) -> dict[str, Any]:
    """One entry of the JSON output."""
    return {"model": model.name, "source": model.source, "revision": model.revision, "refs": list(model.refs),
            "bytes": model.size_bytes, "files": model.num_files, "last_used": model.last_used, "path": str(model.path)}


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "-"
