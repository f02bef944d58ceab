"""Texts from a file or from standard input, line by line: plain lines, or JSON lines. `weft embed` and `weft rerank`.

A file of any size is read as it is used up. A line that is wrong is a Text with an error, so that the others are done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self, TextIO, TypeVar

from tqdm import tqdm

from weft.cli.parser import Parser
from weft.errors import ConfigError, RequestError

T = TypeVar("T")
STDIN = "-"
TEXTS_AT_ONCE = 1024      # texts of one window: all their results are in memory together
_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class Text:
    """One text of the input. index: its place among the texts. fields: what the output repeats, such as its id.

    error: what is wrong with its line; then there is no text.
    """

    index: int
    text: str = ""
    fields: dict[str, Any] | None = None
    error: str | None = None


def add_input_options(parser: Parser) -> None:
    """How lines are read."""
    parser.add_argument("--input-format", choices=("auto", "lines", "json"), default="auto",
                        help="lines: a text on each; json: a JSON string or object on each; auto: by the file's ending")
    parser.add_argument("--field", default="text", metavar="NAME",
                        help="key of the text in JSON objects (default: text)")


class TextFile:
    """The texts of a file, or of standard input. A context manager; a bar shows progress on a terminal.

    ConfigError, naming the option, for a file that cannot be opened, and for one that is no UTF-8 text.
    """

    def __init__(self, path: str, options: argparse.Namespace) -> None:
        self._path, self._field = path, options.field
        self._is_json = options.input_format == "json" or (
            options.input_format == "auto" and Path(path).suffix in _JSON_ENDINGS)
        self._file = self._open()
        size = None if path == STDIN else os.fstat(self._file.fileno()).st_size
        self._bar = tqdm(total=size, unit="B", unit_scale=True, dynamic_ncols=True, disable=not sys.stderr.isatty())
        self._num_texts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._path != STDIN:
            self._file.close()

    def windows(self, size: int) -> Iterator[list[Text]]:
        """The texts, up to `size` at a time. Blank lines are left out."""
        texts = self._texts()
        while window := list(islice(texts, size)):
            yield window
            self._bar.set_postfix_str(f"{self._num_texts} texts", refresh=False)

    def _texts(self) -> Iterator[Text]:
        number = 0
        while line := self._read():
            number += 1
            self._bar.update(len(line.encode("utf-8", "surrogatepass")))
            if line.strip():
                yield self._json(line, number) if self._is_json else Text(self._num_texts, line.rstrip("\r\n"))
                self._num_texts += 1

    def _json(self, line: str, number: int) -> Text:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            return Text(self._num_texts, error=f"line {number} is no JSON: {error}")
        text = value.get(self._field) if isinstance(value, dict) else value
        if not isinstance(text, str) or not text:
            return Text(self._num_texts, error=f"line {number}: expected a text that is not empty, or an object with "
                                               f"one at {self._field!r}")
        return Text(self._num_texts, text, {"id": value["id"]} if isinstance(value, dict) and "id" in value else None)

    def _open(self) -> TextIO:
        if self._path == STDIN:
            return sys.stdin
        try:
            return Path(self._path).open(encoding="utf-8-sig", newline="\n")
        except OSError as error:
            raise self._unusable(str(error.strerror)) from error

    def _read(self) -> str:
        try:
            return self._file.readline()
        except UnicodeDecodeError as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, reason: str) -> ConfigError:
        return ConfigError("FILE", self._path, expected="a UTF-8 text file, or - for standard input", hint=f"{reason}.")


def model_and(names: tuple[str, ...], options: argparse.Namespace) -> list[str]:
    """The command's arguments after MODEL, which `--model` may have named. ConfigError for too few or too many.

    names: what they are called. Sets `options.positional_model`.
    """
    given = list(options.arguments)
    if not hasattr(options, "model"):
        options.positional_model = given.pop(0) if given else None
        if options.positional_model is None:
            raise ConfigError("MODEL", None, expected="a checkpoint, GGUF file or hub name")
    if len(given) < len(names):
        raise ConfigError(names[len(given)], None, expected=f"MODEL {' '.join(names)}")
    if len(given) > len(names):
        raise ConfigError(names[-1], given[len(names):], expected=f"no more than MODEL {' '.join(names)}",
                          hint="Quote texts with spaces.")
    return given


def output_to(path: str | None) -> AbstractContextManager[TextIO]:
    """The file for the lines of the output; None: standard output, which stays open."""
    return nullcontext(sys.stdout) if path is None else Path(path).open("w", encoding="utf-8")


def each_result(window: Sequence[Text], ask: Callable[[Sequence[Text]], Sequence[T]], failed: Callable[[str], T]
                ) -> Iterator[T]:
    """The result of each text: that of `ask`, called with all texts that could be read, or `failed(error)`.

    A text that the model refuses is found by asking one at a time.
    """
    good = [text for text in window if text.error is None]
    try:
        found = iter(ask(good) if good else ())
    except RequestError as error:
        if not error.field.startswith("prompt"):      # it is of all texts
            raise
        found = (_alone(text, ask, failed) for text in good)
    for text in window:
        yield next(found) if text.error is None else failed(text.error)


def _alone(text: Text, ask: Callable[[Sequence[Text]], Sequence[T]], failed: Callable[[str], T]) -> T:
    try:
        return ask([text])[0]
    except RequestError as error:
        return failed(str(error))
