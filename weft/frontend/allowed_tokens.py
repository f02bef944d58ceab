"""Checks that a request's parameters allow at least one first token. The sampler checks all later tokens."""

from __future__ import annotations

from collections.abc import Sequence

from weft.errors import RequestError
from weft.sampling_params import SamplingParams


def check_some_token_is_allowed(params: SamplingParams, eos_token_ids: Sequence[int],
                                bad_words: Sequence[Sequence[int]], vocab_size: int) -> None:
    """RequestError, naming the fields, if allowed_token_ids, bad_words and min_tokens together allow no token."""
    rules = {"bad_words (the words of one token)": {word[0] for word in bad_words if len(word) == 1}}
    if params.min_tokens:
        rule = f"min_tokens = {params.min_tokens} (until then no end-of-text token and none of stop_token_ids)"
        rules[rule] = {*eos_token_ids, *(params.stop_token_ids or ())}
    forbidden = set().union(*rules.values())
    allowed = None if params.allowed_token_ids is None else set(params.allowed_token_ids)
    if len(forbidden) < vocab_size if allowed is None else allowed - forbidden:
        return
    names = " and ".join(rule for rule, token_ids in rules.items() if token_ids & (allowed or forbidden))
    field = "allowed_token_ids" if allowed is not None else "min_tokens" if params.min_tokens else "bad_words"
    raise RequestError(field, getattr(params, field), expected=f"at least one token that is not forbidden by {names}",
                       hint="Allow another token, or drop one of these fields.")
