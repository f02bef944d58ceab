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
from weft.cli.texts import STDIN, TEXTS_AT_ONCE, Text, TextFile, add_input_options, each_result, model_and
from weft.config.flags import human_int
from weft.errors import ConfigError

if TYPE_CHECKING:
    from weft.llm import LLM


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
            for window in texts.windows(TEXTS_AT_ONCE):
                for text, result in zip(window, _scores(llm, query, window, options), strict=True):
                    if isinstance(result, float):
                        found.append(Ranked(text, result))
                        continue
                    num_failed += 1
                    print(f"weft: text {text.index}: {result}", file=sys.stderr)
                found = sorted(found, key=lambda ranked: -ranked.score)[: options.top_n]      # no others are kept
    for ranked in found:
        print(json.dumps(_entry(ranked), ensure_ascii=False) if options.json else
              f"{ranked.score:8.4f}  {ranked.text.text}")
    return 1 if num_failed else 0


def _entry(ranked: Ranked) -> dict[str, Any]:
    text = ranked.text
    return {"index": text.index, **(text.fields or {}), "score": ranked.score, "text": text.text}


def _scores(llm: LLM, query: str, window: Sequence[Text], options: argparse.Namespace) -> Iterator[float | str]:
    """The score of each text, or its error."""
    cut = {"truncate_prompt_tokens": options.truncate_prompt_tokens}

    def ask(texts: Sequence[Text]) -> list[float | str]:
        outputs = llm.score(query, [text.text for text in texts], use_tqdm=False, tokenization_kwargs=cut)
        return [str(output.error) if output.outputs is None else float(output.outputs.score) for output in outputs]

    return each_result(window, ask, str)
