"""`EncodedAudio`: a file of audio as clients send it. `decoder.py` checks its size and decodes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.errors import NotBuiltError, RequestError

_WANTED = "a URL with the file itself, such as data:audio/wav;base64,UklGR…"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedAudio:
    """A file of audio, of any format that soundfile reads. field: its place in the request. data: base64, or bytes."""

    field: str
    data: str | bytes

    @property
    def num_bytes(self) -> int:
        """The file's size, to within two bytes where it is base64."""
        return len(self.data) * 3 // 4 if isinstance(self.data, str) else len(self.data)

    def describe(self) -> str:
        """The file in an error's text."""
        return f"{self.num_bytes} bytes"


def encoded_audio(field: str, data: Any) -> EncodedAudio:
    """A file as base64 text. RequestError, which names `field`, for anything else."""
    if not isinstance(data, str) or not data:
        raise RequestError(field, data, expected="base64 text")
    return EncodedAudio(field=field, data=data)


def input_audio(field: str, part: Mapping[str, Any]) -> EncodedAudio:
    """The clip of {"type": "input_audio", "input_audio": {"data": "UklGR…", "format": "wav"}}.

    `format` is checked and has no effect: the file says what it is.
    """
    field, given = f"{field}.input_audio", part.get("input_audio")
    if not isinstance(given, Mapping):
        raise RequestError(field, given, expected="an object with data (base64) and format")
    if not isinstance(given.get("format", ""), str):
        raise RequestError(f"{field}.format", given["format"], expected="a string such as wav or mp3")
    return encoded_audio(f"{field}.data", given.get("data"))


def audio_url(field: str, part: Mapping[str, Any]) -> EncodedAudio:
    """The clip of {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,…"}} (RFC 2397)."""
    field, given = f"{field}.audio_url", part.get("audio_url")
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, str):
        raise RequestError(field, url, expected=_WANTED)
    if url[:16].partition(":")[0].lower() in ("http", "https", "file"):
        raise NotBuiltError(field, url, expected=_WANTED, hint="weft fetches no audio: send the file itself.")
    head, comma, data = url.partition(",")
    if head[:11].lower() != "data:audio/" or not comma or head.rpartition(";")[2].lower() != "base64":
        raise RequestError(field, url, expected=_WANTED)
    return encoded_audio(field, data)
