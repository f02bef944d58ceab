"""`decoding`: the work of the process that decodes files of audio (`decoder.py`), under limits of length.

soundfile and soxr are the extra `weft[audio]`.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import msgspec
import numpy as np

from weft.errors import RequestError
from weft.media.audio import MAX_SECONDS, read_audio, read_rate, wrong_length

_BLOCK = 1 << 16             # samples of all channels that are decoded at a time


class AudioToDecode(msgspec.Struct):
    """rate: samples a second that are wanted."""

    data: bytes
    rate: int


class DecodedAudio(msgspec.Struct):
    """samples: float32, mono, at the rate wanted; or, of a file that cannot be taken, what an error says: expected,
    with value, which may be empty.
    """

    samples: memoryview = memoryview(b"")
    expected: str = ""
    value: str = ""
    hint: str = ""


def decoding(_: bytes) -> Callable[[bytes], bytes]:
    """From an AudioToDecode to its DecodedAudio, both in msgpack."""
    import soundfile

    del soundfile                    # loaded, with its library, before files are beyond reach
    read_audio((np.zeros(8, np.float32), 8000), 16_000, field="file")     # so is soxr
    return lambda body: msgspec.msgpack.encode(decode_audio(msgspec.msgpack.decode(body, type=AudioToDecode)))


def decode_audio(file: AudioToDecode) -> DecodedAudio:
    """The samples of a file. Its length is checked by its header, and again while it is decoded."""
    import soundfile

    try:
        with soundfile.SoundFile(BytesIO(file.data)) as opened:
            rate = read_rate(opened.samplerate, "file")
            if opened.frames > MAX_SECONDS * rate:
                raise wrong_length("file", opened.frames / rate)
            samples = _mono(opened, int(MAX_SECONDS * rate) + 1)
        found = read_audio((samples, rate), file.rate, field="file")
    except soundfile.SoundFileError:
        return DecodedAudio(expected="a whole file of WAV, FLAC, MP3 or Ogg")
    except RequestError as error:
        return DecodedAudio(expected=error.expected, value=str(error.value), hint=error.hint)
    return DecodedAudio(samples=memoryview(found.astype(np.float32).tobytes()))


def _mono(opened: Any, limit: int) -> np.ndarray:
    """At most `limit` samples, the mean of the channels."""
    blocks, left = [], limit
    for block in opened.blocks(blocksize=max(1, _BLOCK // opened.channels), dtype="float32", always_2d=True):
        blocks.append(block[:left].mean(axis=1))
        left -= len(block)
        if left <= 0:
            break
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)
