"""`weft run-batch`: answers a file of OpenAI batch requests with a new engine and the HTTP server's routes.

A wrong line gets an error entry. The output keeps the input's order.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from weft.cli.batch_file import is_failed, read_lines
from weft.cli.files import check_output
from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.config.flags import human_int


def add_arguments(parser: Parser) -> None:
    """Files and engine options."""
    parser.add_argument("-i", "--input-file", required=True, metavar="FILE", help="a JSON request on each line: "
                        "custom_id, method, url, body")
    parser.add_argument("-o", "--output-file", required=True, metavar="FILE", help="where the answers go, line by line")
    parser.add_argument("--max-concurrency", type=human_int, default=256, metavar="N",
                        help="most requests at the same time (default: 256)")
    add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Answer the file. Exit status 1 if a line got an error."""
    lines = read_lines(Path(options.input_file))
    output = Path(options.output_file)
    check_output("--output-file", output)
    from weft.cli.batch import answer_all

    entries = answer_all(engine_args(options), lines, max_concurrency=options.max_concurrency)
    output.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries), encoding="utf-8")
    failed = sum(is_failed(entry) for entry in entries)
    print(f"{len(entries)} requests, {failed} failed: {output}")
    return 1 if failed else 0
