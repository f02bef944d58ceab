"""The exception classes of weft.

    WeftError
    ├── ConfigError      (ValueError)    an option or a key of a config file is wrong
    │   ├── DescriptionError             a model description is wrong
    │   └── NotBuiltError (NotImplementedError)  weft knows the option or value, but has no code for it yet
    ├── CheckpointError  (ValueError)    weights are missing, broken or do not fit the model
    │   └── NoWeightsError               there are no weight files at all
    ├── MemoryPlanError  (MemoryError)   the model or its cache does not fit the available memory
    ├── RequestError     (ValueError)    one request is wrong; it ends alone
    │   └── QueueFullError               the engine takes no more requests for now
    └── EngineDeadError  (RuntimeError)  the engine process ended for good

An error text names the field, the value, the expected values and a remedy; `did_you_mean` is the remedy of a name that
is nearly a known one. This module imports nothing of weft.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator

_MAX_VALUE_CHARS = 200


def _short(value: object) -> str:
    text = ""
    for piece in _written(value):
        text += piece
        if len(text) > _MAX_VALUE_CHARS:
            return text[: _MAX_VALUE_CHARS - 1] + "…"
    return text


def _written(value: object) -> Iterator[str]:
    """`repr` of a value, in pieces: only the beginning of a client's list of millions is ever written."""
    if type(value) is str:
        yield repr(value[: _MAX_VALUE_CHARS + 1])
    elif type(value) is list:
        yield "["
        for i, entry in enumerate(value):
            yield from _after_comma(i, _written(entry))
        yield "]"
    elif type(value) is dict:
        yield "{"
        for i, (key, entry) in enumerate(value.items()):
            yield from _after_comma(i, itertools.chain(_written(key), (": ",), _written(entry)))
        yield "}"
    else:
        try:
            yield repr(value)
        except ValueError:      # an integer with more digits than Python converts
            yield f"<{type(value).__name__} too long to print>"


def _after_comma(index: int, pieces: Iterable[str]) -> Iterator[str]:
    if index:
        yield ", "
    yield from pieces


def nearest(name: object, known: Iterable[str], *, count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Up to `count` known names that look like `name`, the most similar first. cutoff: least similarity, 0 to 1.

    A name of many characters may be a client's: comparing all of them would take seconds.
    """
    return difflib.get_close_matches(str(name)[:_MAX_VALUE_CHARS], sorted(known), n=count, cutoff=cutoff)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`Did you mean X?` with the known name that looks like `name`; empty if none does."""
    near = nearest(name, known)
    return f"Did you mean {near[0]}?" if near else ""


class WeftError(Exception):
    """The root of weft's errors."""


class FieldError(WeftError, ValueError):
    """A named field holds a value that weft cannot use.

    Attributes:
        field: dotted path of the field, e.g. `rope_scaling.rope_type`.
        value: the given value.
    """

    def __init__(self, field: str, value: object, *, expected: str, hint: str = "", source: str = "") -> None:
        self.field, self.value, self.expected, self.hint, self.source = field, value, expected, hint, source
        where = f" (in {source})" if source else ""
        super().__init__(f"{field} = {_short(value)}{where}: expected {expected}." + (f" {hint}" if hint else ""))


class ConfigError(FieldError):
    """An engine option or a key of a model's config file is wrong."""


class DescriptionError(ConfigError):
    """A part of a model description has a field or a value that it cannot have."""


class NotBuiltError(ConfigError, NotImplementedError):
    """A known option or value for which weft has no code yet."""


class CheckpointError(WeftError, ValueError):
    """Weights are missing, broken or do not fit the model; the text lists files and names."""


class NoWeightsError(CheckpointError):
    """A model's directory holds no weight files."""


class MemoryPlanError(WeftError, MemoryError):
    """Weights, activations and cache do not fit; the text gives need, have and the largest value that fits."""


class RequestError(FieldError):
    """One request is wrong. HTTP answers 400 with `field` as `param`."""


class QueueFullError(WeftError, RuntimeError):
    """The engine takes no more requests for now. HTTP answers 429.

    limit: the option, or the constant, that says how much may wait.
    """

    def __init__(self, text: str, limit: str = "") -> None:
        super().__init__(text)
        self.limit = limit


class EngineDeadError(WeftError, RuntimeError):
    """The engine process ended for good. HTTP answers 503."""
