"""Texts to pool are cut between the tokens that the tokenizer puts around a text."""

from __future__ import annotations

import pytest

from weft.errors import RequestError
from weft.frontend.tokenization import Tokenization


class Marks:
    """A tokenizer of bytes that puts marks around a text."""

    def __init__(self, before: list[int], after: list[int]) -> None:
        self.before, self.after = before, after

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        inner = list(text.encode())
        return [*self.before, *inner, *self.after] if add_special_tokens else inner


def cut(text: str, before=(1,), after=(2,), max_len: int = 100, **options) -> list[int]:
    tokenizer, how = Marks(list(before), list(after)), Tokenization(**options)
    return how.cut(tokenizer.encode(text, add_special_tokens=how.add_special_tokens), text, tokenizer, max_len)


def test_marks_stay_where_they_are():
    assert cut("abcdef", truncate_prompt_tokens=4) == [1, *b"ab", 2]
    assert cut("abcdef", truncate_prompt_tokens=4, truncation_side="left") == [1, *b"ef", 2]
    assert cut("abcdef", before=(), after=(7, 7), truncate_prompt_tokens=5) == [*b"abc", 7, 7]
    assert cut("abcdef", truncate_prompt_tokens=4, add_special_tokens=False) == [*b"abcd"]


def test_a_text_that_fits_is_left_alone():
    assert cut("ab", truncate_prompt_tokens=4) == cut("ab") == [1, *b"ab", 2]


def test_minus_one_is_all_that_the_model_takes():
    assert cut("abcdef", max_len=5, truncate_prompt_tokens=-1) == [1, *b"abc", 2]


def test_no_more_tokens_than_asked_for_are_kept_even_of_marks():
    assert cut("abc", before=(1, 1, 1), truncate_prompt_tokens=2) == [1, 1]


def test_ids_of_the_user_are_cut_as_they_are():
    assert Tokenization(truncate_prompt_tokens=2).cut([1, 5, 6, 2], None, Marks([1], [2]), 100) == [1, 5]


@pytest.mark.parametrize("given", [{"truncate_prompt_tokens": -2}, {"truncate_prompt_tokens": True},
                                   {"add_special_tokens": 1}, {"truncation_side": "middle"}, {"max_length": 3}])
def test_what_is_wrong_is_named(given):
    with pytest.raises(RequestError, match=next(iter(given))):
        Tokenization.read(given)
