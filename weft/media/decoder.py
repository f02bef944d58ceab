"""`Decoder`: image files as PIL images, and `AudioDecoder`: files of audio as samples, each decoded in a process of its
own, which a hostile file can end alone.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from weft.errors import RequestError
from weft.isolated.process import IsolatedProcess, ProcessEndedError
from weft.media.audio import MAX_SECONDS, require_extra
from weft.media.audio_file import AudioToDecode, DecodedAudio
from weft.media.decode import DecodedFile, FileToDecode
from weft.media.encoded import EncodedImage
from weft.media.encoded_audio import EncodedAudio
from weft.media.images import pillow

SECONDS = 20.0               # for one image
AUDIO_SECONDS = 60.0         # for one file of audio
MAX_AUDIO_FILE_BYTES = 25 << 20
MAX_AUDIO_BYTES = 2 << 30    # of memory for one file of audio
_LEAST_BYTES = 256 << 20     # of memory for one image
_BYTES_PER_PIXEL = 32        # of the largest image: four channels, eight times

Answer = TypeVar("Answer", DecodedFile, DecodedAudio)


class Decoder:
    """Any thread may call any method; one file is decoded at a time.

    max_file_bytes: of a file. max_pixels: of an image. max_bytes: of the process's memory; None: by the pixels.
    """

    def __init__(self, *, max_file_bytes: int, max_pixels: int, seconds: float = SECONDS,
                 max_bytes: int | None = None) -> None:
        self._max_file_bytes, self._max_pixels, self._seconds = max_file_bytes, max_pixels, seconds
        self._process = IsolatedProcess("weft.media.decode:decoding", "decodes images", max_bytes=max_bytes or max(
            _LEAST_BYTES, max_pixels * _BYTES_PER_PIXEL))

    @property
    def pid(self) -> int | None:
        """The process's id; None before the first file, and after it was killed."""
        return self._process.pid

    def decoded(self, values: Sequence[Any]) -> Iterator[Any]:
        """`values` one by one, each EncodedImage as a PIL image that stands upright; other values as they are.

        RequestError names the field of a file that is broken, of another type than it says, takes too much time or
        memory, or has too many pixels, alone or with those before.
        """
        num_pixels = 0
        for value in values:
            if isinstance(value, EncodedImage):
                image = self._decoded(value, num_pixels)
                num_pixels += image.width * image.height
                yield image
            else:
                yield value

    def close(self) -> None:
        """Ends the process for good."""
        self._process.close()

    def _decoded(self, image: EncodedImage, num_pixels: int) -> Any:
        image_module = pillow(image.field)
        if image.num_bytes > self._max_file_bytes:
            raise RequestError(image.field, f"{image.num_bytes} bytes",
                               expected=f"a file of at most {self._max_file_bytes} bytes")
        file = FileToDecode(media_type=image.media_type, data=_bytes_of(image), max_pixels=self._max_pixels,
                            num_pixels=num_pixels)
        found = _answer(self._process, image, file, DecodedFile, self._seconds, 3 * self._max_pixels + 4096)
        return image_module.frombytes("RGB", (found.width, found.height), found.data)


class AudioDecoder:
    """Any thread may call any method; one file is decoded at a time."""

    def __init__(self, seconds: float = AUDIO_SECONDS, max_bytes: int = MAX_AUDIO_BYTES) -> None:
        self._seconds = seconds
        self._process = IsolatedProcess("weft.media.audio_file:decoding", "decodes audio", max_bytes=max_bytes)

    def decoded(self, file: EncodedAudio, rate: int) -> np.ndarray:
        """[n] float32, mono, at `rate` Hz. RequestError names the field of a file that is broken, too long, or takes
        too much time or memory; NotBuiltError the extra that is not installed.
        """
        if file.num_bytes > MAX_AUDIO_FILE_BYTES:
            raise RequestError(file.field, file.describe(),
                               expected=f"a file of at most {MAX_AUDIO_FILE_BYTES} bytes")
        for name in ("soundfile", "soxr"):
            require_extra(name, file.field)
        given = AudioToDecode(data=_bytes_of(file), rate=rate)
        found = _answer(self._process, file, given, DecodedAudio, self._seconds, MAX_SECONDS * rate * 4 + 4096)
        return np.frombuffer(found.samples, np.float32)

    def close(self) -> None:
        """Ends the process for good."""
        self._process.close()


def _bytes_of(file: EncodedImage | EncodedAudio) -> bytes:
    try:
        return b64decode(file.data, validate=True) if isinstance(file.data, str) else file.data
    except ValueError as error:
        raise RequestError(file.field, file.describe(), expected="base64 text, with padding and no spaces") from error


def _answer(process: IsolatedProcess, file: EncodedImage | EncodedAudio, given: Any, answer: type[Answer],
            seconds: float, max_bytes: int) -> Answer:
    """What a process makes of a file. RequestError if it is an error, or if there is none."""
    try:
        got = process.ask(msgspec.msgpack.encode(given), seconds, max_bytes)
    except ProcessEndedError as ended:
        raise RequestError(file.field, file.describe(), expected="a file that can be decoded",
                           hint=f"It took more than {seconds:g} s." if ended.exit_code is None else
                           "It took too much memory, or ended the process that decodes.") from ended
    found = msgspec.msgpack.decode(got, type=answer)
    if found.expected:
        raise RequestError(file.field, found.value or file.describe(), expected=found.expected, hint=found.hint)
    return found
