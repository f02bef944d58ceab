"""`PromptLimit`: the most tokens of a prompt. A text that is far too long is refused by its beginning.

Tokenizing takes a second for some MB. So the beginning is tokenized first: what follows it changes only tokens near the
end of the beginning, because merges and words are local. A beginning with too many tokens decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weft.engine.process.messages import EngineInfo
from weft.errors import RequestError

HINT = "Shorten it, or set truncate_prompt_tokens."

_STARTS = (8, 64)      # lengths of beginnings, in characters for each token of the limit; most texts have 1 to 5
_BORDER = 256          # tokens that a text behind the beginning may take away from it: a word, with a margin


@dataclass(frozen=True, slots=True)
class PromptLimit:
    """longest: the most tokens. expected: the limit in the words of errors."""

    longest: int
    expected: str

    def check(self, num_tokens: int, field: str = "prompt") -> None:
        """RequestError for a prompt of more tokens."""
        if num_tokens > self.longest:
            raise RequestError(field, num_tokens, expected=self.expected, hint=HINT)

    def check_beginning(self, text: str, encode: Callable[[str], list[int]], field: str = "prompt") -> None:
        """RequestError for a text that certainly has more tokens. `encode` gets beginnings of the text only."""
        for chars_per_token in _STARTS:
            num_chars = chars_per_token * (self.longest + _BORDER)
            if len(text) <= num_chars:
                return
            at_least = len(encode(text[:num_chars])) - _BORDER
            if at_least > self.longest:
                raise RequestError(field, f"more than {at_least} tokens", expected=self.expected, hint=HINT)


def context_limit(max_model_len: int) -> PromptLimit:
    """The limit of a prompt that is followed by at least one token."""
    return PromptLimit(max_model_len - 1, f"fewer tokens than max_model_len = {max_model_len}")


def prompt_limit(info: EngineInfo) -> PromptLimit:
    """The limit of prompts to generate from: the context's, or that of the encoder where the model has one."""
    if info.encoder_vocab_size is None:
        return context_limit(info.max_model_len)
    longest = info.max_encoder_len or info.max_model_len
    return PromptLimit(longest, f"up to {longest} tokens, the most that the encoder takes")
