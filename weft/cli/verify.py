"""`weft verify MODEL`: compares a model with Transformers and says which part differs, and in which way of running."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.config.flags import human_int

if TYPE_CHECKING:
    from weft.testing import Settings


def add_arguments(parser: Parser) -> None:
    """What is compared and how closely, and engine options."""
    parser.usage = "weft verify [MODEL] [options]"
    parser.add_argument("--json", action="store_true", help="print JSON")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="TEXT", help="text to run; none: random token ids, drawn with --seed")
    prompt.add_argument("--token-ids", type=int, nargs="+", metavar="ID", help="token ids to run")
    prompt.add_argument("--num-tokens", type=human_int, default=40, metavar="N",
                        help="random token ids; take more than a window to see it (default: 40)")
    parser.add_argument("--num-new", type=human_int, default=8, metavar="N",
                        help="tokens that are decoded after the prompt (default: 8)")
    parser.add_argument("--tolerance", type=float, default=1e-4, metavar="X", help="largest relative difference of a "
                        "part's result for the same input (default: 1e-4)")
    parser.add_argument("--total-tolerance", type=float, default=1e-3, metavar="X", help="largest relative difference "
                        "of what all parts together give (default: 1e-3)")
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager",
                        help="Transformers' implementation of attention (default: eager)")
    parser.epilog = ("Exit status 0: equal, 1: something differs or cannot run. Both models are in memory at the same "
                     "time, in float32: 8 bytes for each parameter.")
    add_engine_options(parser, positional_model=True)


def run(options: argparse.Namespace) -> int:
    """Compare, and print what was found."""
    args = engine_args(options)
    from weft.testing import compare

    report = compare(args, _settings(options, args.seed))
    print(json.dumps(report.as_json(), indent=2) if options.json else report.text())
    return 0 if report.is_equal else 1


def _settings(options: argparse.Namespace, seed: int) -> Settings:
    from weft.testing import Settings

    prompt = options.token_ids if options.prompt is None else options.prompt
    return Settings(prompt=prompt, num_tokens=options.num_tokens, num_new=options.num_new, seed=seed,
                    tolerance=options.tolerance, total_tolerance=options.total_tolerance,
                    attention=options.attention)
