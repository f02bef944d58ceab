"""`read_audio`: an audio clip as a user has it, as samples at the rate of a model.

soundfile (files) and soxr (another rate) are the extra `weft[audio]`: they are imported when they are needed.
"""

from __future__ import annotations

import math
from base64 import b64decode
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np

from weft.errors import NotBuiltError, RequestError
from weft.media.encoded_audio import MAX_FILE_BYTES, EncodedAudio

MAX_SECONDS = 2 * 3600               # of one clip
_RATES = (1000, 768_000)             # Hz
_WANTED = "samples as an array of floats, or (samples, rate)"


def read_audio(value: Any, rate: int, *, field: str) -> np.ndarray:
    """[n] float32, mono, at `rate` Hz. RequestError, which names `field`, for anything else and what is too long.

    value: a file; or samples [n], [channels, n] or [n, channels] from -1 to 1, which are taken to be at `rate`; or
    (samples, their rate in Hz). NotBuiltError names the extra that is not installed.
    """
    if isinstance(value, EncodedAudio):
        samples, own_rate = _decoded(value)
    elif isinstance(value, tuple):
        if len(value) != 2:
            raise RequestError(field, f"{len(value)} values", expected=_WANTED)
        samples, own_rate = _array(value[0], field), _rate(value[1], field)
    else:
        samples, own_rate = _array(value, field), float(rate)
    if samples.size < 1 or samples.size > MAX_SECONDS * own_rate:
        raise _wrong_length(field, samples.size / own_rate)
    return samples if own_rate == rate else _resampled(samples, own_rate, rate, field)


def _array(value: Any, field: str) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    try:
        samples = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RequestError(field, type(value).__name__, expected=_WANTED) from error
    if samples.ndim == 2 and samples.size:
        samples = samples.mean(axis=0 if samples.shape[0] <= samples.shape[1] else 1)
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise RequestError(field, f"an array {list(samples.shape)}", expected=f"{_WANTED}, all finite")
    return samples


def _rate(value: Any, field: str) -> float:
    known = isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
    if not known or not _RATES[0] <= value <= _RATES[1]:
        raise RequestError(field, f"a rate of {value}", expected=f"a rate from {_RATES[0]} to {_RATES[1]} Hz")
    return float(value)


def _decoded(file: EncodedAudio) -> tuple[np.ndarray, float]:
    soundfile = _extra("soundfile", file.field)
    try:
        data = b64decode(file.data, validate=True) if isinstance(file.data, str) else file.data
    except ValueError as error:
        raise RequestError(file.field, file.describe(), expected="base64 text, with padding and no spaces") from error
    if len(data) > MAX_FILE_BYTES:
        raise RequestError(file.field, file.describe(), expected=f"a file of at most {MAX_FILE_BYTES} bytes")
    try:
        with soundfile.SoundFile(BytesIO(data)) as opened:
            rate = _rate(opened.samplerate, file.field)
            limit = int(MAX_SECONDS * rate) + 1
            if opened.frames > limit:              # by the header, before a sample is decoded
                raise _wrong_length(file.field, opened.frames / rate)
            return _mono(opened, limit), rate
    except soundfile.SoundFileError as error:
        raise RequestError(file.field, file.describe(), expected="a whole file of WAV, FLAC, MP3 or Ogg") from error


def _mono(opened: Any, limit: int) -> np.ndarray:
    """At most `limit` samples, the mean of the channels. Read in blocks: a file may have many channels."""
    blocks, left = [], limit
    for block in opened.blocks(blocksize=1 << 16, dtype="float32", always_2d=True):
        blocks.append(block[:left].mean(axis=1))
        left -= len(block)
        if left <= 0:
            break
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def _resampled(samples: np.ndarray, own_rate: float, rate: int, field: str) -> np.ndarray:
    return _extra("soxr", field).resample(samples, own_rate, rate)


def _extra(name: str, field: str) -> Any:
    """The module `name`."""
    try:
        return import_module(name)
    except ImportError as error:
        raise NotBuiltError(field, "a file of audio or another rate",
                            expected=f"samples at the model's rate without {name}",
                            hint='Install the extra: pip install "weft[audio]".') from error


def _wrong_length(field: str, seconds: float) -> RequestError:
    return RequestError(field, f"{seconds:.1f} s", expected=f"at most {MAX_SECONDS} s of audio, and not none")

