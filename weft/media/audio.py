"""`read_audio`: an audio clip as a user's Python code has it, as samples at the rate of a model.

soxr, for other rates, is of the extra `weft[audio]`: it is imported when it is needed. `audio_file.py` has files.
"""

from __future__ import annotations

import math
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from weft.errors import NotBuiltError, RequestError

MAX_SECONDS = 2 * 3600               # of one clip
_RATES = (1000, 768_000)             # Hz
_WANTED = "samples as an array of floats, or (samples, rate)"


def read_audio(value: Any, rate: int, *, field: str) -> np.ndarray:
    """[n] float32, mono, at `rate` Hz. RequestError, which names `field`, for anything else and what is too long.

    value: samples [n], [channels, n] or [n, channels] from -1 to 1, which are taken to be at `rate`; or
    (samples, their rate in Hz). NotBuiltError names the extra that is not installed.
    """
    if isinstance(value, tuple):
        if len(value) != 2:
            raise RequestError(field, f"{len(value)} values", expected=_WANTED)
        samples, own_rate = _array(value[0], field), read_rate(value[1], field)
    else:
        samples, own_rate = _array(value, field), float(rate)
    if samples.size < 1 or samples.size > MAX_SECONDS * own_rate:
        raise wrong_length(field, samples.size / own_rate)
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


def read_rate(value: Any, field: str) -> float:
    """A sampling rate in Hz. RequestError, which names `field`, for what is none."""
    known = isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
    if not known or not _RATES[0] <= value <= _RATES[1]:
        raise RequestError(field, f"a rate of {value}", expected=f"a rate from {_RATES[0]} to {_RATES[1]} Hz")
    return float(value)


def _resampled(samples: np.ndarray, own_rate: float, rate: int, field: str) -> np.ndarray:
    require_extra("soxr", field)
    return import_module("soxr").resample(samples, own_rate, rate)


def require_extra(name: str, field: str) -> None:
    """NotBuiltError, which names the extra, where the module `name` is not installed."""
    if find_spec(name) is None:
        raise NotBuiltError(field, "a file of audio or another rate",
                            expected=f"samples at the model's rate without {name}",
                            hint='Install the extra: pip install "weft[audio]".')


def wrong_length(field: str, seconds: float) -> RequestError:
    """The error about a clip that is empty or longer than MAX_SECONDS."""
    return RequestError(field, f"{seconds:.1f} s",
                        expected=f"audio of at most {MAX_SECONDS} s, with at least one sample")

