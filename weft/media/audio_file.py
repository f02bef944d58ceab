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
            samples = _mono(opened, rate, file.rate)
    except soundfile.SoundFileError:
        return DecodedAudio(expected="a whole file of WAV, FLAC, MP3 or Ogg")
    except RequestError as error:
        return DecodedAudio(expected=error.expected, value=str(error.value), hint=error.hint)
    return DecodedAudio(samples=memoryview(samples))


def _mono(opened: Any, rate: float, wanted: int) -> bytearray:
    """The mean of the channels at the rate `wanted`, float32, block by block: a long file is never in memory twice."""
    import soxr

    resampler = None if rate == wanted else soxr.ResampleStream(rate, wanted, 1, dtype="float32")
    samples, num_read = bytearray(), 0
    for block in opened.blocks(blocksize=max(1, _BLOCK // opened.channels), dtype="float32", always_2d=True):
        num_read += len(block)
        if num_read > MAX_SECONDS * rate:
            raise wrong_length("file", num_read / rate)
        mono = block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise RequestError("file", "numbers that are not finite", expected="samples that are all finite")
        samples += mono.tobytes() if resampler is None else resampler.resample_chunk(mono).tobytes()
    if num_read == 0:
        raise wrong_length("file", 0)
    if resampler is not None:
        samples += resampler.resample_chunk(np.empty(0, np.float32), last=True).tobytes()
    return samples
