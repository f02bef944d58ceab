"""`weft embed`: a vector for each line of a file, with an engine in this process, as JSON lines or as a numpy array.

A wrong line gets an error in place of its vector. Lines are read, and results written, a window at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from weft.cli.files import check_output
from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.cli.texts import STDIN, TEXTS_AT_ONCE, Text, TextFile, add_input_options, each_result, model_and, output_to
from weft.config.flags import human_int
from weft.errors import ConfigError

if TYPE_CHECKING:
    from weft.llm import LLM


def add_arguments(parser: Parser) -> None:
    """The model, the texts, the output, and engine options."""
    parser.usage = "weft embed MODEL [FILE] [options]"
    parser.add_argument("arguments", metavar="MODEL [FILE]", nargs="*",
                        help="the model, and a file with a text on each line (default: -, standard input)")
    parser.add_argument("-o", "--output-file", metavar="FILE",
                        help="where the vectors go: a numpy array if it ends in .npy, else JSON lines (default: JSON "
                             "lines on standard output)")
    add_input_options(parser)
    parser.add_argument("--normalize", action=argparse.BooleanOptionalAction, default=None,
                        help="scale vectors to length 1; none: as the model's files say, else yes")
    parser.add_argument("--dimensions", type=human_int, metavar="N", help="the first N numbers of each vector, for "
                        "models that were trained for that")
    parser.add_argument("--truncate-prompt-tokens", type=int, metavar="N",
                        help="cut longer texts to N tokens; -1: to what the model takes; none: they are errors")
    parser.add_argument("--token-states", action="store_true",
                        help="the final state of each token instead of one vector")
    add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Write a vector for each text. Exit status 1 if one of them is an error."""
    if len(options.arguments) == (0 if hasattr(options, "model") else 1):
        options.arguments.append(STDIN)
    [path] = model_and(("FILE",), options)
    is_array = options.output_file is not None and options.output_file.endswith(".npy")
    if is_array and options.token_states:
        raise ConfigError("--output-file", options.output_file, expected="JSON lines with --token-states",
                          hint="Texts have different numbers of tokens.")
    if options.output_file is not None:
        check_output("--output-file", options.output_file)
    num_texts = num_failed = 0
    with ExitStack() as stack:
        texts = stack.enter_context(TextFile(path, options))
        from weft.llm import LLM

        llm = stack.enter_context(LLM.from_engine_args(engine_args(options)))
        write = _writer(options.output_file, stack, is_array=is_array)
        for window in texts.windows(TEXTS_AT_ONCE):
            for entry in _entries(llm, window, options):
                write(entry)
                num_texts, num_failed = num_texts + 1, num_failed + ("error" in entry)
                if is_array and "error" in entry:
                    print(f"weft: text {entry['index']}: {entry['error']}", file=sys.stderr)
    if options.output_file is not None:
        print(f"{num_texts} texts, {num_failed} failed: {options.output_file}")
    return 1 if num_failed else 0


def _writer(path: str | None, stack: ExitStack, *, is_array: bool) -> Callable[[dict[str, Any]], None]:
    if is_array and path is not None:
        from weft.cli.npy_file import NpyFile  # needs numpy, which is slow to import

        array = stack.enter_context(NpyFile(path))
        return lambda entry: array.add(entry.get("embedding"))
    output = stack.enter_context(output_to(path))
    return lambda entry: print(json.dumps(entry, ensure_ascii=False), file=output)


def _entries(llm: LLM, window: Sequence[Text], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The entry of each text."""
    results = each_result(window, lambda texts: _embed(llm, [text.text for text in texts], options),
                          lambda error: {"error": error})
    for text, result in zip(window, results, strict=True):
        yield {"index": text.index, **(text.fields or {}), **result}


def _embed(llm: LLM, texts: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    from weft.pooling_params import PoolingParams

    key, task = ("token_states", "token_embed") if options.token_states else ("embedding", "embed")
    params = PoolingParams(task=task, use_activation=options.normalize, dimensions=options.dimensions)
    cut = {"truncate_prompt_tokens": options.truncate_prompt_tokens}
    return [{"error": output.error} if output.outputs is None else
            {key: output.outputs.data.tolist(), "num_tokens": len(output.prompt_token_ids)}
            for output in llm.encode(texts, params, use_tqdm=False, tokenization_kwargs=cut)]
