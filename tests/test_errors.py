"""The texts of errors: the value is shown as Python writes it, and only its beginning is ever written."""

from __future__ import annotations

import pytest

from weft.errors import RequestError


class Bomb:
    def __repr__(self) -> str:
        pytest.fail("only the beginning of a value is written")


def text_of(value: object) -> str:
    return str(RequestError("x", value, expected="y")).removeprefix("x = ").removesuffix(": expected y.")


@pytest.mark.parametrize("value", [
    5, None, "it's", [], {}, (1, "a"), [1, [2, "b"], {"c": [None]}], {"a": {"b": 1.5}, 3: "d"}, {4}, b"e"])
def test_a_value_is_shown_as_python_writes_it(value):
    assert text_of(value) == repr(value)


@pytest.mark.parametrize("value", ["a" * 10**6, [1] * 100 + [Bomb()], {**dict.fromkeys(range(100)), "b": Bomb()}])
def test_of_a_long_value_the_beginning_is_shown(value):
    assert len(text_of(value)) == 200 and text_of(value).endswith("…")


def test_a_number_that_python_does_not_print_is_told():
    assert text_of([10**5000]) == "[<int too long to print>]"
