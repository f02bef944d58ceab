"""`SpeechTokens`: Whisper's special tokens: what a decoder's prompt begins with, and the times in an answer.

Source: arXiv:2212.04356 section 2.3; the names are those of OpenAI's tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from weft.errors import RequestError
from weft.text.tokenizer import Tokenizer

_START, _PREVIOUS, _NO_TIMES = "<|startoftranscript|>", "<|startofprev|>", "<|notimestamps|>"
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_SECONDS = 0.02                      # between one token of time and the next
_CHARS_PER_TOKEN = 16                # of the earlier text that is read, for each token of prompt and answer


@dataclass(frozen=True, slots=True)
class Segment:
    """What was said from `first` to `end`, in seconds of a piece."""

    first: float
    end: float
    token_ids: list[int]


class SpeechTokens:
    """is_multilingual False: prompts name no language and no task. max_len: tokens of prompt and answer together.

    RequestError for a tokenizer without Whisper's tokens.
    """

    def __init__(self, tokenizer: Tokenizer, *, is_multilingual: bool, max_len: int) -> None:
        self._tokenizer, self._max_len = tokenizer, max_len
        self._ids = tokenizer.special_texts
        self._first_time = self._id(_NO_TIMES) + 1          # <|0.00|>
        self.languages = {match[1]: token_id for text, token_id in self._ids.items()
                          if (match := _LANGUAGE.fullmatch(text))} if is_multilingual else {}

    def start(self) -> list[int]:
        """The prompt whose next token is the language."""
        return [self._id(_START)]

    def prompt(self, *, language: str | None, task: str, has_times: bool, earlier: str) -> list[int]:
        """The decoder's prompt. language: a key of `languages`; None: the model knows one language only. task:
        transcribe or translate. earlier: text that came before, or words to look out for; its end counts.
        """
        ids = self.start()
        if language is not None:
            ids += [self.languages[language], self._id(f"<|{task}|>")]
        ids.append(self._first_time if has_times else self._id(_NO_TIMES))
        if end := earlier.strip()[-_CHARS_PER_TOKEN * self._max_len :]:
            words = self._tokenizer.encode(" " + end, add_special_tokens=False)
            ids = [self._id(_PREVIOUS), *words[-max(self._max_len // 2 - 1, 1) :], *ids]
        return ids

    def text(self, token_ids: Sequence[int]) -> str:
        """The words of an answer, without times."""
        return self._tokenizer.decode(self.words(token_ids))

    def words(self, token_ids: Sequence[int]) -> list[int]:
        """The tokens of an answer that are no times."""
        return [token_id for token_id in token_ids if token_id < self._first_time]

    def segments(self, token_ids: Sequence[int], seconds: float) -> list[Segment]:
        """An answer whose prompt ended with the time 0, cut at its times. seconds: length of the piece."""
        found: list[Segment] = []
        first, words = 0.0, []
        for token_id in token_ids:
            if token_id < self._first_time:
                words += [] if token_id in self._tokenizer.special_ids else [token_id]
                continue
            time = min((token_id - self._first_time) * _SECONDS, seconds)
            if words:
                found.append(Segment(first, max(first, time), words))
            first, words = max(first, time), []
        return [*found, Segment(first, seconds, words)] if words else found

    def _id(self, text: str) -> int:
        if text not in self._ids:
            raise RequestError("model", text, expected="a tokenizer with Whisper's special tokens")
        return self._ids[text]
