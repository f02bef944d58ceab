"""`bad_word_ids`: the token ids of words that an answer must not have."""

from __future__ import annotations

from weft.errors import RequestError
from weft.text.tokenizer import Tokenizer

MAX_BAD_WORD_TOKENS = 1024


def bad_word_ids(words: list[str], tokenizer: Tokenizer, vocab_size: int) -> list[list[int]]:
    """Token ids of each word, without and with a leading space: many tokenizers give the two different ids.

    RequestError for more than MAX_BAD_WORD_TOKENS tokens. Ids that the model has no row for are left out.
    """
    found: list[list[int]] = []
    for word in words:
        for text in (word.lstrip(), " " + word.lstrip()):
            token_ids = tokenizer.encode(text, add_special_tokens=False)
            if token_ids and token_ids not in found and max(token_ids) < vocab_size:
                found.append(token_ids)
    num_tokens = sum(map(len, found))
    if num_tokens > MAX_BAD_WORD_TOKENS:
        raise RequestError("bad_words", num_tokens, expected=f"at most {MAX_BAD_WORD_TOKENS} tokens in all words")
    return found
