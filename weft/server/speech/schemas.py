"""The schemas of the forms of /v1/audio, and `typed`: texts of a form as the values that a schema has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from weft.server.openai.schemas import Body, Identifier, Int

_NUMBERS = frozenset({"temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty",
                      "repetition_penalty"})
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


class SpeechBody(Body):
    """Fields that transcriptions and translations have in common."""

    sampling_fields: ClassVar = _NUMBERS
    sampling_defaults: ClassVar = MappingProxyType({"temperature": 0.0})
    needs: ClassVar = "generate"

    file: bytes
    model: str | None = None
    prompt: str = ""
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    stream: bool = False
    max_completion_tokens: Annotated[Int, Field(gt=0)] | None = None
    priority: Int | None = None
    timeout: float | None = None
    request_id: Identifier | None = None
    language: str | None = None


class TranscriptionBody(SpeechBody):
    """POST /v1/audio/transcriptions: what was said, in its own language."""

    timestamp_granularities: list[Literal["segment", "word"]] | None = None


class TranslationBody(SpeechBody):
    """POST /v1/audio/translations: what was said, in English. language: of the speech."""


def typed(schema: type[Body], form: dict[str, Any]) -> dict[str, Any]:
    """The fields of a form with numbers and truths in the place of their texts; other texts stay."""
    types = _types(schema)
    return {name: _typed(types.get(name, frozenset()), value) if isinstance(value, str) else value
            for name, value in form.items()}


@cache
def _types(schema: type[Body]) -> Mapping[str, frozenset[str]]:
    """{field: the types that it may have, as JSON schemas name them}."""
    found = {name: frozenset(kind.get("type", "") for kind in (field, *field.get("anyOf", ())))
             for name, field in schema.model_json_schema()["properties"].items()}
    return MappingProxyType(found | dict.fromkeys(schema.sampling_fields, frozenset({"number"})))


def _typed(types: frozenset[str], text: str) -> Any:
    if "boolean" in types:
        return _TRUTHS.get(text.lower(), text)
    return _number(text) if types & {"integer", "number"} else text


def _number(text: str) -> Any:
    """The number of a text; a text that is none stays, for its field's error."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
