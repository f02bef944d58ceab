"""`Recognition`: what a model is asked about the pieces of a file, and what its answers make together.

It knows no engine: the routes and `weft transcribe` generate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weft.config.engine_config import ModelConfig
from weft.errors import RequestError
from weft.frontend.speech_inputs import SpeechPiece
from weft.frontend.speech_tokens import SpeechTokens
from weft.outputs import RequestOutput
from weft.sampling_params import SamplingParams
from weft.server.speech.answers import Speech, SpokenSegment
from weft.text.tokenizer import Tokenizer

TIMED = ("srt", "vtt", "verbose_json")      # forms of an answer with times
PIECES_AT_ONCE = 8                          # of one file: bounds the memory for spectrograms, 1 MB each


@dataclass(frozen=True, slots=True)
class Recognition:
    """task: transcribe or translate. language: None until one was heard, and if the model knows one only. form: a
    `response_format`. earlier: text that came before.
    """

    tokens: SpeechTokens
    task: str
    language: str | None
    form: str
    earlier: str

    @classmethod
    def read(cls, model: ModelConfig, tokenizer: Tokenizer, max_len: int, *, task: str, language: str | None, form: str,
             earlier: str) -> Recognition:
        """RequestError for a language that the model does not know, and a translation by a model of English alone."""
        tokens = SpeechTokens(tokenizer, is_multilingual=model.is_multilingual, max_len=max_len)
        language = language.lower() if language else None
        if task == "translate" and not tokens.languages:
            raise RequestError("model", model.name, expected="a model of several languages, to translate")
        if language is not None and tokens.languages and language not in tokens.languages:
            raise RequestError("language", language, expected="a code of a language that the model knows, such as "
                               + ", ".join(sorted(tokens.languages)[:5]))
        if language not in (None, "en") and not tokens.languages:
            raise RequestError("language", language, expected="en: the model knows English alone")
        return cls(tokens, task, language if tokens.languages else None, form, earlier)

    @property
    def needs_language(self) -> bool:
        """Whether the model has to say which language it hears."""
        return self.language is None and bool(self.tokens.languages)

    def language_question(self, piece: SpeechPiece) -> tuple[dict[str, Any], SamplingParams]:
        """The prompt whose answer is the token of the language of a piece."""
        params = SamplingParams(temperature=0, max_tokens=1, detokenize=False,
                                allowed_token_ids=sorted(self.tokens.languages.values()))
        return _prompt(piece, self.tokens.start()), params

    def with_heard(self, output: RequestOutput) -> Recognition:
        """This one with the language that answers `language_question`."""
        (token_id,) = output.outputs[0].token_ids
        return replace(self, language=next(language for language, own in self.tokens.languages.items()
                                           if own == token_id))

    def prompts(self, pieces: Iterable[SpeechPiece]) -> list[dict[str, Any]]:
        """The prompt of each piece, whose answer is what was said."""
        ids = self.tokens.prompt(language=self.language, task=self.task, has_times=self.form in TIMED,
                                 earlier=self.earlier)
        return [_prompt(piece, ids) for piece in pieces]

    def speech(self, pieces: Sequence[SpeechPiece], outputs: Sequence[RequestOutput], temperature: float) -> Speech:
        """All that was said, of the finished outputs of all pieces."""
        segments = [segment for piece, output in zip(pieces, outputs, strict=True)
                    for segment in self._segments(piece, output)] if self.form in TIMED else []
        text = "".join(self.tokens.text(output.outputs[0].token_ids) for output in outputs).strip()
        return Speech(text, pieces[-1].end, self.task, self.language, temperature, segments)

    def _segments(self, piece: SpeechPiece, output: RequestOutput) -> list[SpokenSegment]:
        answer = output.outputs[0]
        mean = (answer.cumulative_logprob or 0.0) / max(len(answer.token_ids), 1)
        return [SpokenSegment(piece.first + each.first, piece.first + each.end,
                              self.tokens.text(each.token_ids).strip(), each.token_ids, mean)
                for each in self.tokens.segments(answer.token_ids, piece.end - piece.first)]


def _prompt(piece: SpeechPiece, token_ids: list[int]) -> dict[str, Any]:
    return {"prompt_token_ids": token_ids, "multi_modal_data": {"audio": piece.samples}}
