"""Checks of a request's fields. Each raises a RequestError that names the field, its value and what was expected."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft.errors import RequestError

MAX_COUNT = 2**31 - 1          # tokens; a larger count is a mistake


def check_text(field: str, text: Any) -> str:
    """Returns `text` if it is a string that UTF-8 can encode; otherwise RequestError."""
    if not isinstance(text, str):
        raise RequestError(field, text, expected="a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(field, text, expected="text that UTF-8 can hold",
                           hint=f"There is a lone surrogate at character {error.start}.") from None
    return text


def check_flag(field: str, value: Any) -> None:
    """RequestError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise RequestError(field, value, expected="True or False")


def check_whole(field: str, value: Any, low: int, high: int) -> None:
    """RequestError unless `value` is an integer in the range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RequestError(field, value, expected=f"an integer from {low} to {high}")


def check_number(field: str, value: Any, low: float, high: float) -> float:
    """`value` as a float, if in the range. NaN and integers too large for a float fail the comparison."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise RequestError(field, value, expected=f"a number from {low} to {high}")
    return float(value)


def check_strings(field: str, value: Any) -> list[str]:
    """`value` as a list, if it is one of texts that are not empty."""
    if not isinstance(value, list | tuple):
        raise RequestError(field, value, expected="a string or a list of strings" if field == "stop" else
                           "a list of strings")
    for i, item in enumerate(value):
        if not check_text(f"{field}[{i}]", item):
            raise RequestError(f"{field}[{i}]", item, expected="a string that is not empty")
    return list(value)


def check_token_ids(field: str, value: Any) -> list[int]:
    """`value` as a list, if it is one of token ids."""
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise RequestError(field, value, expected="a list of token ids")
    token_ids = list(value)
    for i, token_id in enumerate(token_ids):
        check_whole(f"{field}[{i}]", token_id, 0, MAX_COUNT)
    return token_ids
