"""What a client is told of recognised speech: JSON, plain text, or subtitles (SubRip, WebVTT)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class SpokenSegment:
    """What was said from `first` to `end`, in seconds of the file. mean_logprob: of the tokens of its piece."""

    first: float
    end: float
    text: str
    token_ids: list[int]
    mean_logprob: float


@dataclass(frozen=True, slots=True)
class Speech:
    """A recognised file. language: None: the model names none. segments: of formats with times. seconds: of the
    file.
    """

    text: str
    seconds: float
    task: str
    language: str | None
    temperature: float
    segments: Sequence[SpokenSegment] = ()


def usage_of(seconds: float) -> dict[str, Any]:
    """OpenAI's usage of speech."""
    return {"type": "duration", "seconds": math.ceil(seconds)}


def written(speech: Speech, form: str) -> tuple[bytes, str]:
    """(the answer, its media type). form: a `response_format`."""
    match form:
        case "text":
            return (speech.text + "\n").encode(), "text/plain; charset=utf-8"
        case "srt":
            lines = (f"{number}\n{_span(segment, ',')}\n{segment.text}\n\n"
                     for number, segment in enumerate(speech.segments, 1))
            return "".join(lines).encode(), "text/plain; charset=utf-8"
        case "vtt":
            lines = (f"{_span(segment, '.')}\n{segment.text}\n\n" for segment in speech.segments)
            return ("WEBVTT\n\n" + "".join(lines)).encode(), "text/vtt; charset=utf-8"
        case "verbose_json":
            return msgspec.json.encode(_verbose(speech)), "application/json"
        case _:
            return msgspec.json.encode({"text": speech.text, "usage": usage_of(speech.seconds)}), "application/json"


def _verbose(speech: Speech) -> dict[str, Any]:
    segments = [{
        "id": number, "seek": round(segment.first * 100), "start": round(segment.first, 2),
        "end": round(segment.end, 2), "text": segment.text, "tokens": segment.token_ids,
        "temperature": speech.temperature, "avg_logprob": segment.mean_logprob,
        "compression_ratio": _ratio(segment.text), "no_speech_prob": None,
    } for number, segment in enumerate(speech.segments)]
    return {"task": speech.task, "language": speech.language, "duration": round(speech.seconds, 2),
            "text": speech.text, "segments": segments, "usage": usage_of(speech.seconds)}


def _ratio(text: str) -> float:
    """How far a text can be compressed: far, where a model repeats itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _span(segment: SpokenSegment, mark: str) -> str:
    return f"{_time(segment.first, mark)} --> {_time(segment.end, mark)}"


def _time(seconds: float, mark: str) -> str:
    """Such as 01:02:03,450."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"
