"""`weft cache remove MODEL`: deletes downloaded models after a confirmation."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from weft.cli.cache.listing import as_json, print_models
from weft.cli.parser import Parser
from weft.config.human_bytes import human_bytes
from weft.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from weft.resolve.sources.cached import CachedModel


def add_arguments(parser: Parser) -> None:
    """The models, the revision, the folder, and whether to ask."""
    parser.usage = "weft cache remove MODEL [MODEL ...] [options]"
    parser.add_argument("models", metavar="MODEL", nargs="+", help="names, as `weft cache list` shows them")
    parser.add_argument("--revision", metavar="TEXT",
                        help="only this branch, tag, or commit (its beginning is enough); none: all of a model")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--download-dir", metavar="TEXT", help="the folder to look in, instead of the usual caches")
    parser.add_argument("--json", action="store_true", help="print JSON; needs --yes")


def run(options: argparse.Namespace) -> int:
    """Find the models, ask, delete them, print the freed bytes. Exit status 1 if the user says no."""
    from weft.resolve.sources.cached import cached_models, remove

    if options.json and not options.yes:
        raise ConfigError("--json", True, expected="--yes with it", hint="A question would not be JSON.")
    cached = cached_models(options.download_dir)
    chosen = [model for name in dict.fromkeys(options.models) for model in _chosen(cached, name, options.revision)]
    if not options.json:
        print_models(chosen)
    if not options.yes and not _agreed():
        print("Nothing was deleted.")
        return 1
    freed = remove(chosen, options.download_dir)
    if options.json:
        print(json.dumps({"removed": [as_json(model) for model in chosen], "freed_bytes": freed}, indent=2))
    else:
        print(f"Deleted; {human_bytes(freed)} are free again.")
    return 0


def _chosen(cached: list[CachedModel], name: str, revision: str | None) -> list[CachedModel]:
    """The cached revisions of one model. ConfigError if there are none."""
    models = [model for model in cached if model.name == name]
    if not models:
        names = sorted({model.name for model in cached})
        raise ConfigError("MODEL", name, expected="a model that is downloaded",
                          hint=did_you_mean(name, names) or "`weft cache list` shows them.")
    found = [model for model in models if revision is None or revision in model.refs
             or model.revision.startswith(revision)]
    if not found:
        there = ", ".join("/".join([model.revision[:12], *model.refs]) for model in models)
        raise ConfigError("--revision", revision, expected=f"a downloaded revision of {name}",
                          hint=f"There are: {there}.")
    return found


def _agreed() -> bool:
    print("Delete these? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
