"""`weft describe DIR|ARCHITECTURE`: finds the function that describes an architecture, and proves it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.cli.files import check_output
from weft.cli.parser import Parser
from weft.config.engine_args import EngineArgs

if TYPE_CHECKING:
    from weft.discover.describe import Finding


def add_arguments(parser: Parser) -> None:
    """The class, and where the description goes."""
    parser.usage = "weft describe DIR|ARCHITECTURE [options]"
    parser.add_argument("model", metavar="DIR|ARCHITECTURE", help="directory or hub name of a checkpoint, of which "
                        "only the config is read; or a model class of Transformers, such as LlamaForCausalLM")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write the function to this Python file, too")
    parser.add_argument("--no-cache", action="store_true", help="do not keep a proven description; without this, "
                        "models of the class that weft has no description of run by it from now on")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the model class that comes with the "
                        "checkpoint")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = ("The function goes to stdout, the proof to stderr. Tiny models of the class with random weights "
                     "are run, beside weft's parts. Exit status 0: proven, 1: a submodule has no part in weft (its "
                     "name and the nearest part are printed), or the proof fails.")


def run(options: argparse.Namespace) -> int:
    """Search, prove, print and keep."""
    from weft.discover.describe import find_description
    from weft.models.found import keep

    if options.output is not None:
        check_output("--output", options.output)
    cls, values = _class(options)
    found = find_description(cls, values)
    kept = keep(cls, found.text) if found.is_proven and not options.no_cache else None
    if options.output is not None:
        options.output.write_text(found.text)
    if options.json:
        print(json.dumps(_as_json(found, kept), indent=2))
    else:
        print(found.text, flush=True)
        print(found.proof(), file=sys.stderr)
        if kept is not None:
            print(f"kept as {kept}", file=sys.stderr)
    return 0 if found.is_proven else 1


def _class(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """(the model class, values of a config). ConfigError when there is none, or when its code is not trusted."""
    from weft.config.frozen import thaw
    from weft.config.machine import Machine
    from weft.discover.describe import class_and_defaults
    from weft.models.transformers.find_class import find_class
    from weft.resolve.engine_config import resolve_engine_config

    if options.model.isidentifier() and not Path(options.model).exists():
        return class_and_defaults(options.model)
    args = EngineArgs(model=options.model, load_format="dummy", skip_tokenizer_init=True,
                      trust_remote_code=options.trust_remote_code)
    model = resolve_engine_config(args, Machine.detect()).model
    return find_class(model), thaw(model.hf_config)


def _as_json(found: Finding, kept: Path | None) -> dict[str, Any]:
    return {"architecture": found.architecture, "is_proven": found.is_proven, "description": found.text,
            "trials": [{"config": trial.changed, "holds": trial.holds, "words": trial.text()}
                       for trial in found.trials],
            "refused": {key: {"needed": value, "why": str(error)} for key, (value, error) in found.refused.items()},
            "harmless": sorted(found.harmless), "file": None if kept is None else str(kept)}
