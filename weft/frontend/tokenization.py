"""`Tokenization`: how a text to pool becomes token ids, and how they are cut without losing the tokens around the text.

Prompts to generate from are cut by `InputProcessor.truncate`: an answer goes on from the prompt's end. This module
knows no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.errors import RequestError
from weft.text.tokenizer import Tokenizer

SIDES = ("left", "right")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenization:
    """How the text of a pooling request becomes token ids. The fields are vLLM's `tokenization_kwargs`.

    truncate_prompt_tokens: most tokens that are kept; -1: as many as the model takes; None: all, or an error.
    truncation_side: where the others are cut off, "left" or "right".
    """

    add_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    truncation_side: str = "right"

    def __post_init__(self) -> None:
        limit = self.truncate_prompt_tokens
        if not isinstance(self.add_special_tokens, bool):
            raise RequestError("add_special_tokens", self.add_special_tokens, expected="true or false")
        if limit is not None and (type(limit) is not int or limit < -1 or limit == 0):
            raise RequestError("truncate_prompt_tokens", limit, expected="an integer of at least 1, -1, or None")
        if self.truncation_side not in SIDES:
            raise RequestError("truncation_side", self.truncation_side, expected=" or ".join(SIDES))

    @classmethod
    def read(cls, given: Mapping[str, Any] | None) -> Tokenization:
        """The object for `tokenization_kwargs`. RequestError for an unknown key or a wrong value."""
        for name, value in (given or {}).items():
            if name not in cls.__dataclass_fields__:
                raise RequestError(f"tokenization_kwargs.{name}", value,
                                   expected=f"only {', '.join(cls.__dataclass_fields__)}")
        return cls(**{name: value for name, value in (given or {}).items() if value is not None})

    def limit(self, max_len: int) -> int | None:
        """The most tokens that are kept; None: all. RequestError if there may be more than `max_len`."""
        limit = self.truncate_prompt_tokens
        if limit is not None and limit > max_len:
            raise RequestError("truncate_prompt_tokens", limit, expected=f"up to max_model_len = {max_len}")
        return max_len if limit == -1 else limit

    def cut(self, token_ids: list[int], text: str | None, tokenizer: Tokenizer | None, max_len: int) -> list[int]:
        """The ids that are kept. text: what the ids are of; None if the user gave ids.

        max_len: the most tokens that the model takes. RequestError for a larger truncate_prompt_tokens.
        """
        limit = self.limit(max_len)
        if limit is None or len(token_ids) <= limit:
            return token_ids
        before, inner, after = token_ids[:0], token_ids, token_ids[:0]
        if text is not None and tokenizer is not None and self.add_special_tokens:
            before, inner, after = _parts(token_ids, tokenizer.encode(text, add_special_tokens=False))
        room = max(limit - len(before) - len(after), 0)
        kept = inner[:room] if self.truncation_side == "right" else inner[len(inner) - room:]
        return (before + kept + after)[:limit]


def _parts(whole: list[int], inner: list[int]) -> tuple[list[int], list[int], list[int]]:
    """(special tokens before, the text's own ids, special tokens after); without a place for `inner`: all is text."""
    num_special = len(whole) - len(inner)
    for start in range(num_special + 1):
        if whole[start : start + len(inner)] == inner:
            return whole[:start], inner, whole[start + len(inner):]
    return [], whole, []
