"""The tokens that end passages for DRY, from a request's texts."""

from __future__ import annotations

from weft.errors import RequestError
from weft.sampling_extras import BREAKERS
from weft.sampling_params import SamplingParams
from weft.text.tokenizer import Tokenizer


def breaker_ids(params: SamplingParams, tokenizer: Tokenizer | None) -> list[int]:
    """The last token of each of `dry_sequence_breakers` after a letter. RequestError for some without a tokenizer."""
    if not params.dry_multiplier:
        return []
    if tokenizer is None:
        if params.dry_sequence_breakers:
            raise RequestError("dry_sequence_breakers", params.dry_sequence_breakers, expected="none, because the "
                               "engine has no tokenizer")
        return []
    texts = BREAKERS if params.dry_sequence_breakers is None else params.dry_sequence_breakers
    found = (tokenizer.encode(f"a{text}", add_special_tokens=False)[-1:] for text in texts)
    return sorted({token_id for token_ids in found for token_id in token_ids})
