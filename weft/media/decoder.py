"""`Decoder`: image files as PIL images, decoded in a process of its own, which a hostile file can end alone."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from weft.errors import RequestError
from weft.isolated.process import IsolatedProcess, ProcessEndedError
from weft.media.decode import DecodedFile, FileToDecode
from weft.media.encoded import EncodedImage
from weft.media.images import pillow

SECONDS = 20.0               # for one file
_LEAST_BYTES = 256 << 20     # of memory for one file
_BYTES_PER_PIXEL = 32        # of the largest image: four channels, eight times


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
        try:
            data = b64decode(image.data, validate=True) if isinstance(image.data, str) else image.data
        except ValueError as error:
            raise RequestError(image.field, image.describe(), expected="base64 text, with padding and no spaces"
                               ) from error
        file = FileToDecode(media_type=image.media_type, data=data, max_pixels=self._max_pixels, num_pixels=num_pixels)
        try:
            answer = self._process.ask(msgspec.msgpack.encode(file), self._seconds,
                                       3 * self._max_pixels + 4096)
        except ProcessEndedError as ended:
            raise RequestError(image.field, image.describe(), expected="a file that can be decoded",
                               hint=f"It took more than {self._seconds:g} s." if ended.exit_code is None else
                               "It took too much memory, or ended the process that decodes.") from ended
        found = msgspec.msgpack.decode(answer, type=DecodedFile)
        if found.expected:
            raise RequestError(image.field, found.value or image.describe(), expected=found.expected, hint=found.hint)
        return image_module.frombytes("RGB", (found.width, found.height), found.data)
