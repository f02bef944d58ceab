"""`weft embed`: prints one JSON line with an embedding for each text, with an engine in this process.

Texts are arguments, or the lines of a file or of standard input. A wrong text gets a line with an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from weft.cli.files import check_output, read_text
from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from weft.llm import LLM

_TEXTS_AT_ONCE = 1024      # texts of one batch: all their vectors are in memory together


def add_arguments(parser: Parser) -> None:
    """The texts, the output file, and engine options."""
    parser.usage = "weft embed [TEXT ...] [options]"
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="a text; none: the lines of --input-file, or of "
                        "standard input")
    parser.add_argument("-i", "--input-file", metavar="FILE", help="a text on each line; blank lines are left out")
    parser.add_argument("-o", "--output-file", metavar="FILE", help="where the JSON lines go; none: standard output")
    parser.add_argument("--normalize", action=argparse.BooleanOptionalAction, default=None,
                        help="scale vectors to length 1; none: as the model's files say, else yes")
    parser.add_argument("--token-states", action="store_true",
                        help="the final state of each token instead of one vector")
    add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Write a line for each text. Exit status 1 if one of them is an error."""
    texts = _texts(options)
    if options.output_file is not None:
        check_output("--output-file", options.output_file)
    from weft.llm import LLM

    num_texts = num_failed = 0
    with LLM.from_engine_args(engine_args(options)) as llm, _output(options.output_file) as output:
        for entry in _entries(llm, texts, options):
            print(json.dumps(entry, ensure_ascii=False), file=output)
            num_texts, num_failed = num_texts + 1, num_failed + ("error" in entry)
    if options.output_file is not None:
        print(f"{num_texts} texts, {num_failed} failed: {options.output_file}")
    return 1 if num_failed else 0


def _texts(options: argparse.Namespace) -> Iterable[str]:
    if options.texts:
        if options.input_file is not None:
            raise ConfigError("--input-file", options.input_file, expected="no file beside texts on the command line")
        return options.texts
    if options.input_file is None:
        return _lines(sys.stdin)
    return _lines(read_text("--input-file", options.input_file, expected="a text file").split("\n"))


def _lines(lines: Iterable[str]) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in lines if line.strip())


def _output(path: str | None) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if path is None else Path(path).open("w", encoding="utf-8")


def _entries(llm: LLM, texts: Iterable[str], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    remaining, index = iter(texts), 0
    while batch := list(islice(remaining, _TEXTS_AT_ONCE)):
        try:
            found = _embed(llm, batch, options)
        except RequestError as error:
            if error.field == "task":
                raise
            found = [_alone(llm, text, options) for text in batch]
        for entry in found:
            yield {"index": index} | entry
            index += 1


def _alone(llm: LLM, text: str, options: argparse.Namespace) -> dict[str, Any]:
    try:
        return _embed(llm, [text], options)[0]
    except RequestError as error:
        return {"error": str(error)}


def _embed(llm: LLM, texts: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    from weft.pooling_params import PoolingParams

    params = PoolingParams(task="token_embed" if options.token_states else "embed", use_activation=options.normalize)
    key = "token_states" if options.token_states else "embedding"
    return [{"error": output.error} if output.outputs is None else
            {key: output.outputs.data.tolist(), "num_tokens": len(output.prompt_token_ids)}
            for output in llm.encode(list(texts), params, use_tqdm=False)]
