"""Two texts as one prompt, as a cross-encoder reads them: token ids, and which text each token is of."""

from __future__ import annotations

from typing import Any

from weft.text.mistral_tokenizer import MistralTokenizer
from weft.text.tokenizer import Tokenizer


def encode_pair(tokenizer: Tokenizer, first: str, second: str, *, add_special_tokens: bool = True,
                max_len: int | None = None, from_left: bool = False) -> tuple[list[int], list[int]]:
    """(token ids, token types) of two texts, with the tokenizer's own tokens around and between them.

    Token types are 0 for the first text and 1 for the second; [] where the tokenizer makes none.
    max_len: the most tokens that are kept: the longer text is cut first, and then both, at their ends, or their
    beginnings (from_left). RequestError for text that is no valid Unicode.
    """
    parts = tokenizer.encode(first, add_special_tokens=False), tokenizer.encode(second, add_special_tokens=False)
    source, backend = tokenizer.source, getattr(tokenizer.source, "backend_tokenizer", None)
    if backend is None or isinstance(source, MistralTokenizer):
        return _joined_by_source(source, *parts, add_special_tokens=add_special_tokens, max_len=max_len,
                                 from_left=from_left)
    encodings = [backend.encode(text, add_special_tokens=False) for text in (first, second)]
    if max_len is not None:
        around = backend.num_special_tokens_to_add(True) if add_special_tokens else 0
        kept = _kept(len(encodings[0]), len(encodings[1]), max(max_len - around, 0))
        for encoding, count in zip(encodings, kept, strict=True):
            encoding.truncate(count, direction="left" if from_left else "right")
    pair = backend.post_process(*encodings, add_special_tokens=add_special_tokens)
    makes_types = "token_type_ids" in getattr(source, "model_input_names", ("token_type_ids",))
    return list(pair.ids), list(pair.type_ids) if makes_types else []


def _joined_by_source(source: Any, first: list[int], second: list[int], *, add_special_tokens: bool,
                      max_len: int | None, from_left: bool) -> tuple[list[int], list[int]]:
    """As `encode_pair`, of a tokenizer that is no pipeline of the `tokenizers` package."""
    build = getattr(source, "build_inputs_with_special_tokens", None)
    around = len(build([], [])) if build is not None and add_special_tokens else 0
    if max_len is not None:
        kept = _kept(len(first), len(second), max(max_len - around, 0))
        first, second = (ids[len(ids) - count:] if from_left else ids[:count]
                         for ids, count in zip((first, second), kept, strict=True))
    if build is None or not add_special_tokens:
        return first + second, []
    types = getattr(source, "create_token_type_ids_from_sequences", None)
    if types is None or "token_type_ids" not in source.model_input_names:
        return list(build(first, second)), []
    return list(build(first, second)), list(types(first, second))


def _kept(first: int, second: int, limit: int) -> tuple[int, int]:
    """How many tokens of two texts are kept so that both have `limit`: the longer one is cut until both are equal."""
    if first + second <= limit:
        return first, second
    short = min(first, second, limit // 2)
    long = limit - short
    return (short, long) if first <= second else (long, short)
