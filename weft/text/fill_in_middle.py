"""Prompts for filling in the middle: a text before and a text after, between special tokens that the vocabulary has.

A row of `VOCABULARIES` says which tokens a family of models was trained with and their order. Knows no model's name:
the tokenizer's tokens decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from weft.errors import RequestError
from weft.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class MiddleTokens:
    """The special tokens of one vocabulary.

    before, after: stand in front of the text before the gap and of the text after it. middle: ends the prompt; "" for
    none. after_first: the text after the gap comes first. ends: tokens that end the middle beside the end of a text.
    is_glued: the tokenizer adds a space in front of a text, which the text after the gap must not get.
    """

    before: str
    after: str
    middle: str
    after_first: bool = False
    ends: tuple[str, ...] = ()
    is_glued: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All tokens that the vocabulary must have."""
        return tuple(filter(None, (self.before, self.after, self.middle)))


# Sources: the model cards of Qwen2.5-Coder and CodeGemma, StarCoder (arXiv:2305.06161), Code Llama (arXiv:2308.12950),
# DeepSeek-Coder (arXiv:2401.14196), Codestral's tokenizer in mistral-common.
VOCABULARIES = (
    MiddleTokens(before="<|fim_prefix|>", after="<|fim_suffix|>", middle="<|fim_middle|>",
                 ends=("<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<|file_separator|>")),
    MiddleTokens(before="<fim_prefix>", after="<fim_suffix>", middle="<fim_middle>", ends=("<file_sep>",)),
    MiddleTokens(before="<fim-prefix>", after="<fim-suffix>", middle="<fim-middle>"),
    MiddleTokens(before="▁<PRE>", after="▁<SUF>", middle="▁<MID>", ends=("▁<EOT>",), is_glued=True),
    MiddleTokens(before="<｜fim▁begin｜>", after="<｜fim▁hole｜>", middle="<｜fim▁end｜>"),
    MiddleTokens(before="[PREFIX]", after="[SUFFIX]", middle="", after_first=True),
)
_APART = "☺"      # a text that no tokenizer joins with the next one


@dataclass(frozen=True, slots=True)
class MiddlePrompt:
    """A prompt to fill in the middle of. stop_token_ids: further ids that end the answer."""

    token_ids: list[int]
    stop_token_ids: list[int]


class FillInMiddle:
    """Makes prompts for one tokenizer. Not for several threads at once: it uses the tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def prompt(self, before: str, after: str, *, add_special_tokens: bool) -> MiddlePrompt:
        """The prompt whose answer is the text between `before` and `after`.

        add_special_tokens: begin with the token that begins texts, if the tokenizer does so. RequestError if the
        vocabulary has no tokens for filling in the middle.
        """
        if self._found is None:
            raise RequestError("suffix", after, expected="none: the tokenizer has no tokens for filling in the middle",
                               hint="Models trained for it, such as coders, have them.")
        tokens, ids = self._found
        parts = [[ids[tokens.before], *self._encode(before)],
                 [ids[tokens.after], *self._encode(after, is_glued=tokens.is_glued)]]
        if tokens.after_first:
            parts.reverse()
        end = [ids[tokens.middle]] if tokens.middle else []
        return MiddlePrompt([*(self._begin() if add_special_tokens else []), *parts[0], *parts[1], *end],
                            [ids[name] for name in tokens.ends if name in ids])

    @cached_property
    def _found(self) -> tuple[MiddleTokens, dict[str, int]] | None:
        """The row that the vocabulary has all tokens of, and {token: id} of them."""
        vocabulary = self._tokenizer.source.get_vocab()
        for tokens in VOCABULARIES:
            if all(name in vocabulary for name in tokens.names):
                return tokens, {name: vocabulary[name] for name in (*tokens.names, *tokens.ends) if name in vocabulary}
        return None

    def _encode(self, text: str, *, is_glued: bool = False) -> list[int]:
        if not text:
            return []
        if not is_glued:
            return self._tokenizer.encode(text, add_special_tokens=False)
        apart = self._tokenizer.encode(_APART, add_special_tokens=False)
        return self._tokenizer.encode(_APART + text, add_special_tokens=False)[len(apart):]

    def _begin(self) -> list[int]:
        """The ids that the tokenizer puts in front of a text."""
        plain = self._tokenizer.encode(_APART, add_special_tokens=False)
        special = self._tokenizer.encode(_APART, add_special_tokens=True)
        start = next((i for i in range(len(special)) if special[i : i + len(plain)] == plain), 0)
        return special[:start]
