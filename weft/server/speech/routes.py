"""POST /v1/audio/transcriptions and /v1/audio/translations in OpenAI's shape: files of audio become text.

A file is cut into pieces that the model hears at once (`media/quiet_cuts.py`), which are recognised apart.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from weft.errors import QueueFullError
from weft.frontend.speech_inputs import SpeechPiece
from weft.media.encoded_audio import EncodedAudio
from weft.outputs import RequestOutput
from weft.sampling_params import SamplingParams
from weft.server.context import ServerContext
from weft.server.disconnect import started_stream, until_disconnect
from weft.server.errors import ApiError, bad_field
from weft.server.openai.generation import Generation, sampling_params
from weft.server.openai.schemas import Parsed
from weft.server.openai.streaming import closed_with_done, event
from weft.server.origin import origin_of
from weft.server.request_fields import ignored_header, priority_of, request_id_of, timeout_of
from weft.server.served import ServedModel
from weft.server.speech.answers import Speech, usage_of, written
from weft.server.speech.open_audio import OpenAudio
from weft.server.speech.recognised import PIECES_AT_ONCE, TIMED, Recognition
from weft.server.speech.schemas import SpeechBody, TranscriptionBody, TranslationBody
from weft.text.detokenizer import IncrementalDetokenizer


def speech_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`."""
    router, open_audio = APIRouter(), OpenAudio()

    @router.post("/v1/audio/transcriptions")
    async def transcriptions(request: Request) -> Response:
        return await _answered(context, open_audio, request, TranscriptionBody, "transcribe")

    @router.post("/v1/audio/translations")
    async def translations(request: Request) -> Response:
        return await _answered(context, open_audio, request, TranslationBody, "translate")

    return router


async def _answered(context: ServerContext, open_audio: OpenAudio, request: Request, schema: type[SpeechBody],
                    task: str) -> Response:
    parsed = await context.read_form(request, schema)
    _check(parsed.body)
    served = await context.model(request, parsed.body)
    headers = ignored_header(parsed.ignored)
    job = await until_disconnect(request, _prepare(served, open_audio, request, parsed, task))
    if parsed.body.stream:
        return await started_stream(request, closed_with_done(job.stream()), headers)
    speech = await until_disconnect(request, job.speech())
    answer, media_type = written(speech, parsed.body.response_format)
    return Response(answer, headers=headers, media_type=media_type)


def _check(body: SpeechBody) -> None:
    if body.stream and body.response_format in TIMED:
        raise bad_field("stream", True, expected=f"false with response_format {body.response_format}")
    granularities = getattr(body, "timestamp_granularities", None) or ()
    if "word" in granularities:
        raise ApiError(501, "timestamp_granularities = 'word': expected 'segment'. weft has no code for times of "
                       "words.", "timestamp_granularities")
    if granularities and body.response_format != "verbose_json":
        raise bad_field("timestamp_granularities", list(granularities), expected="none without verbose_json")


async def _prepare(served: ServedModel, open_audio: OpenAudio, request: Request, parsed: Parsed[Any],
                   task: str) -> _Job:
    model = served.engine.config.model
    if served.engine.info.encoder_row_size is None:
        raise ApiError(400, f"{model.architecture} does not turn speech into text: ask a model such as Whisper.",
                       "model")
    body, given = parsed.body, {**parsed.body.sampling_defaults, **parsed.sampling}
    recognition = Recognition.read(model, served.require_tokenizer(), served.engine.info.max_model_len, task=task,
                                   language=body.language, form=body.response_format, earlier=body.prompt)
    params = sampling_params(served, given, max_tokens=body.max_completion_tokens, logprobs=0 if
                             body.response_format == "verbose_json" else None, prompt_logprobs=None,
                             stream=body.stream)
    params.detokenize = False      # the words of an answer are those of its tokens that are no times
    timeout = timeout_of(request, body.timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    job = _Job(served, request, body, recognition, params, await _pieces(served, open_audio, body.file), deadline)
    open_audio.hold(job, job.pieces[-1].end)
    if recognition.needs_language:
        prompt, question = recognition.language_question(job.pieces[0])
        (heard,) = await job.generation([prompt], question).final()
        job.recognition = recognition.with_heard(_whole(heard))
    return job


async def _pieces(served: ServedModel, open_audio: OpenAudio, file: bytes) -> list[SpeechPiece]:
    try:
        open_audio.reserve()
        try:
            return await served.engine.read_speech(EncodedAudio(field="file", data=file))
        except BaseException:
            open_audio.release()
            raise
    except QueueFullError as error:
        raise served.too_many(error) from error


def _whole(output: RequestOutput) -> RequestOutput:
    """ApiError for an output that was aborted: a part of a file would be missing from the answer."""
    if output.outputs[0].finish_reason == "abort":
        raise ApiError(409, "The request was aborted.")
    return output


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Job:
    """One file, ready to be recognised. deadline: of time.monotonic; None: none."""

    served: ServedModel
    request: Request
    body: SpeechBody
    recognition: Recognition
    params: SamplingParams
    pieces: list[SpeechPiece]
    deadline: float | None

    def generation(self, prompts: Sequence[dict[str, Any]], params: SamplingParams) -> Generation:
        """The engine's work for some pieces."""
        left = None if self.deadline is None else max(self.deadline - time.monotonic(), 0.001)
        return Generation(
            self.served, prompts, params, origin=origin_of(self.request.scope), timeout=left,
            places=["prompt"] * len(prompts), response_id="trsc-" + request_id_of(self.request, self.body.request_id),
            priority=priority_of(self.request, self.body.priority), cache_salt=None,
            fields={"max_tokens": "max_completion_tokens", "multi_modal_data": "file"})

    async def speech(self) -> Speech:
        """All that was said."""
        outputs: list[RequestOutput] = []
        prompts = self.recognition.prompts(self.pieces)
        for first in range(0, len(prompts), PIECES_AT_ONCE):
            generation = self.generation(prompts[first : first + PIECES_AT_ONCE], self.params)
            outputs += map(_whole, await generation.final())
        return self.recognition.speech(self.pieces, outputs, self.params.temperature)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """OpenAI's events: the text as it comes, piece after piece, then all of it."""
        text = ""
        for prompt in self.recognition.prompts(self.pieces):
            words = IncrementalDetokenizer(self.served.require_tokenizer(), ())
            async with aclosing(self.generation([prompt], self.params).outputs()) as outputs:
                async for _, output in outputs:
                    ids = self.recognition.tokens.words(_whole(output).outputs[0].token_ids)
                    delta = words.push(ids) + (words.finish() if output.finished else "")
                    if delta := delta if text else delta.lstrip():
                        text += delta
                        yield event({"type": "transcript.text.delta", "delta": delta})
        yield event({"type": "transcript.text.done", "text": text.strip(), "usage": usage_of(self.pieces[-1].end)})
