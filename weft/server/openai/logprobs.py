"""Log-probabilities in the two shapes of OpenAI's API, and prompt_logprobs.

Minus infinity is written as -9999.0, because JSON has no infinity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from weft.outputs import Logprob
from weft.text.tokenizer import Tokenizer

MINUS_INFINITY = -9999.0

Position = dict[int, Logprob]


class TokenNames:
    """The names of tokens in responses: the text, or `token_id:7` if requested or without a tokenizer."""

    def __init__(self, tokenizer: Tokenizer | None, *, as_ids: bool) -> None:
        self._tokenizer, self._as_ids = tokenizer, as_ids

    def name(self, token_id: int, entry: Logprob | None = None) -> str:
        """The token's name. entry: the token's Logprob, which may have the text already."""
        if self._as_ids or self._tokenizer is None:
            return f"token_id:{token_id}"
        if entry is not None and entry.decoded_token is not None:
            return entry.decoded_token
        return self._tokenizer.token_text(token_id)

    def bytes(self, token_id: int) -> list[int] | None:
        """The token's raw bytes, which may be part of a character; None without a tokenizer."""
        return None if self._tokenizer is None else list(self._tokenizer.token_bytes(token_id))


def finite(logprob: float) -> float:
    """`logprob`, or -9999.0 if it is smaller (also minus infinity) or NaN."""
    return logprob if logprob > MINUS_INFINITY else MINUS_INFINITY


class CompletionLogprobs:
    """`choices[].logprobs` of /v1/completions for one answer. Text offsets, in characters, continue across calls."""

    def __init__(self, names: TokenNames, offset: int = 0) -> None:
        self._names, self._offset = names, offset

    def add(self, token_ids: Sequence[int], positions: Sequence[Position | None]) -> dict[str, list[Any]]:
        """The object for these tokens. Position None (a prompt's first token) has no log-probability."""
        found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token_id, position in zip(token_ids, positions, strict=True):
            entry = position.get(token_id) if position else None
            name = self._names.name(token_id, entry)
            found["tokens"].append(name)
            found["token_logprobs"].append(None if entry is None else finite(entry.logprob))
            found["top_logprobs"].append(None if position is None else self._top(position))
            found["text_offset"].append(self._offset)
            self._offset += len(name)
        return found

    def _top(self, position: Position) -> dict[str, float]:
        top: dict[str, float] = {}
        for token_id, entry in position.items():
            top.setdefault(self._names.name(token_id, entry), finite(entry.logprob))   # tokens may have equal texts
        return top


def chat_logprobs(names: TokenNames, token_ids: Iterable[int], positions: Iterable[Position], num_top: int
                  ) -> dict[str, Any]:
    """`choices[].logprobs` of a chat: each token with its `num_top` likeliest alternatives, best first."""
    content = []
    for token_id, position in zip(token_ids, positions, strict=True):
        best = sorted(position.items(), key=lambda item: -item[1].logprob)[:num_top]
        content.append({**_chat_token(names, token_id, position[token_id]),
                        "top_logprobs": [_chat_token(names, other, entry) for other, entry in best]})
    return {"content": content, "refusal": None}


def _chat_token(names: TokenNames, token_id: int, entry: Logprob) -> dict[str, Any]:
    return {"token": names.name(token_id, entry), "logprob": finite(entry.logprob), "bytes": names.bytes(token_id)}


def prompt_logprobs(positions: Sequence[Position | None] | None) -> list[dict[str, Any] | None] | None:
    """Prompt logprobs for JSON: for each position {token id: {logprob, rank, decoded_token}}; the first is None."""
    if positions is None:
        return None
    return [None if position is None else {
        str(token_id): {"logprob": finite(entry.logprob), "rank": entry.rank, "decoded_token": entry.decoded_token}
        for token_id, entry in position.items()} for position in positions]
