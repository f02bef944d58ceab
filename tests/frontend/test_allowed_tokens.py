"""A request whose own rules leave no first token is refused, and the error names all of them."""

import pytest

from weft.errors import RequestError
from weft.frontend.allowed_tokens import check_some_token_is_allowed
from weft.sampling_params import SamplingParams

EOS, VOCAB_SIZE = [9], 10
EVERY = list(range(10))


def check(*, bad_words=(), **params):
    check_some_token_is_allowed(SamplingParams(**params), EOS, bad_words, VOCAB_SIZE)


@pytest.mark.parametrize("params", [
    {}, {"min_tokens": 3}, {"allowed_token_ids": [9]}, {"allowed_token_ids": [9, 1], "min_tokens": 3},
    {"allowed_token_ids": [1], "bad_words": [[1, 1], [2]]}, {"stop_token_ids": EVERY},
    {"min_tokens": 1, "stop_token_ids": EVERY[1:]}, {"bad_words": [[i] for i in EVERY[1:]]},
])
def test_one_token_is_enough(params):
    check(**params)


@pytest.mark.parametrize(("params", "field", "names"), [
    ({"allowed_token_ids": [9], "min_tokens": 3}, "allowed_token_ids", ["min_tokens = 3"]),
    ({"allowed_token_ids": [9, 4], "min_tokens": 1, "stop_token_ids": [4]}, "allowed_token_ids", ["min_tokens = 1"]),
    ({"allowed_token_ids": [3], "bad_words": [[3]]}, "allowed_token_ids", ["bad_words"]),
    ({"allowed_token_ids": [3, 9], "bad_words": [[3]], "min_tokens": 2}, "allowed_token_ids",
     ["bad_words", "min_tokens = 2"]),
    ({"min_tokens": 2, "stop_token_ids": EVERY}, "min_tokens", ["stop_token_ids"]),
    ({"bad_words": [[i] for i in EVERY]}, "bad_words", ["words of one token"]),
])
def test_no_token_is_an_error_that_names_the_fields(params, field, names):
    with pytest.raises(RequestError) as caught:
        check(**params)

    assert caught.value.field == field
    assert all(name in str(caught.value) for name in names)
    assert ("bad_words" in str(caught.value)) is ("bad_words" in params)
