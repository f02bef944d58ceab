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
    texts = [tokenizer.encode(text, add_special_tokens=False) for text in (first, second)]
    source = tokenizer.source
    backend = None if isinstance(source, MistralTokenizer) else getattr(source, "backend_tokenizer", None)
    build = getattr(source, "build_inputs_with_special_tokens", None)
    if max_len is not None:
        around = 0
        if add_special_tokens and backend is not None:
            around = backend.num_special_tokens_to_add(True)
        elif add_special_tokens and build is not None:
            around = len(build([], []))
        kept = _kept(len(texts[0]), len(texts[1]), max(max_len - around, 0))
        texts = [ids[len(ids) - count:] if from_left else ids[:count] for ids, count in zip(texts, kept, strict=True)]
    join = _joined_by_source if backend is None else _joined_by_pipeline
    ids, types = join(source, texts, (first, second), add_special_tokens=add_special_tokens)
    return ids[:max_len], types[:max_len]


def _joined_by_pipeline(source: Any, texts: list[list[int]], words: tuple[str, str], *,
                        add_special_tokens: bool) -> tuple[list[int], list[int]]:
    """The ids of two texts in the form of the `tokenizers` package, which is seen from a pair of short texts.

    Encodings that were cut are not joined themselves: each keeps what was cut off, and their join combines every piece
    of one text with every piece of the other. words: what to look at where short texts have no tokens.
    """
    backend = source.backend_tokenizer
    samples = [next((found for text in ("a", own) if (found := backend.encode(text, add_special_tokens=False)).ids),
                    backend.encode("", add_special_tokens=False)) for own in words]
    sample = backend.post_process(*samples, add_special_tokens=add_special_tokens)
    ids, types, seen = list[int](), list[int](), set[int]()
    marks = zip(sample.ids, sample.type_ids, sample.special_tokens_mask, sample.sequence_ids, strict=True)
    for token_id, kind, is_special, number in marks:
        text = number or 0              # where nothing stands around texts, the first one has no number
        if is_special or text not in seen:
            new = [token_id] if is_special else texts[text]
            ids, types = ids + new, types + [kind] * len(new)
            seen |= set() if is_special else {text}
    makes_types = "token_type_ids" in getattr(source, "model_input_names", ("token_type_ids",))
    return ids, types if makes_types else []


def _joined_by_source(source: Any, texts: list[list[int]], words: tuple[str, str], *,
                      add_special_tokens: bool) -> tuple[list[int], list[int]]:
    """As `_joined_by_pipeline`, of a tokenizer that is no pipeline."""
    first, second = texts
    build = getattr(source, "build_inputs_with_special_tokens", None)
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
