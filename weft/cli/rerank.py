"""`weft rerank`: the lines of a file, ranked by how well they fit a query, with an engine in this process."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.cli.texts import STDIN, Text, TextFile, add_input_options, model_and
from weft.config.flags import human_int
from weft.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from weft.llm import LLM

_TEXTS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Ranked:
    """A text with its score."""

    text: Text
    score: float


def add_arguments(parser: Parser) -> None:
    """The model, the query, the texts, and engine options."""
    parser.usage = "weft rerank MODEL QUERY [FILE] [options]"
    parser.add_argument("arguments", metavar="MODEL QUERY [FILE]", nargs="*",
                        help="the model, the query, and a file with a text on each line (default: -, standard input)")
    parser.add_argument("--top-n", type=human_int, metavar="N", help="print the best N (default: all)")
    parser.add_argument("--json", action="store_true", help="JSON lines: index, score, text")
    parser.add_argument("--truncate-prompt-tokens", type=int, default=-1, metavar="N",
                        help="cut longer pairs to N tokens (default: -1, to what the model takes)")
    add_input_options(parser)
    add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the ranked texts. Exit status 1 if one could not be read or scored."""
    if len(options.arguments) == (1 if hasattr(options, "model") else 2):
        options.arguments.append(STDIN)
    query, path = model_and(("QUERY", "FILE"), options)
    if not query:
        raise ConfigError("QUERY", query, expected="a text that is not empty")
    if options.top_n is not None and options.top_n < 1:
        raise ConfigError("--top-n", options.top_n, expected="at least 1")
    found: list[Ranked] = []
    num_failed = 0
    with TextFile(path, options) as texts:
        from weft.llm import LLM

        with LLM.from_engine_args(engine_args(options)) as llm:
            for window in texts.windows(_TEXTS_AT_ONCE):
                for result in _scored(llm, query, window, options):
                    if isinstance(result, Ranked):
                        found.append(result)
                        continue
                    num_failed += 1
                    print(f"weft: text {result.index}: {result.error}", file=sys.stderr)
                found = sorted(found, key=lambda ranked: -ranked.score)[: options.top_n]      # no others are kept
    for ranked in found:
        print(json.dumps(_entry(ranked), ensure_ascii=False) if options.json else
              f"{ranked.score:8.4f}  {ranked.text.text}")
    return 1 if num_failed else 0


def _entry(ranked: Ranked) -> dict[str, Any]:
    text = ranked.text
    return {"index": text.index, **(text.fields or {}), "score": ranked.score, "text": text.text}


def _scored(llm: LLM, query: str, window: Sequence[Text], options: argparse.Namespace) -> Iterator[Ranked | Text]:
    """Each text with its score, or with its error. A text that the model refuses is found by asking one at a time."""
    good = [text for text in window if text.error is None]
    yield from (text for text in window if text.error is not None)
    if not good:
        return
    try:
        yield from _scores(llm, query, good, options)
    except RequestError as error:
        if not error.field.startswith("prompt"):      # it is of all texts
            raise
        for text in good:
            yield from _alone(llm, query, text, options)


def _alone(llm: LLM, query: str, text: Text, options: argparse.Namespace) -> list[Ranked | Text]:
    try:
        return _scores(llm, query, [text], options)
    except RequestError as error:
        return [Text(text.index, error=str(error))]


def _scores(llm: LLM, query: str, texts: Sequence[Text], options: argparse.Namespace) -> list[Ranked | Text]:
    cut = {"truncate_prompt_tokens": options.truncate_prompt_tokens}
    outputs = llm.score(query, [text.text for text in texts], use_tqdm=False, tokenization_kwargs=cut)
    return [Text(text.index, error=output.error) if output.outputs is None else Ranked(text, output.outputs.score)
            for text, output in zip(texts, outputs, strict=True)]
