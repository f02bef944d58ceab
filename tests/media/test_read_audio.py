"""Files of audio are decoded under limits, mixed to mono and resampled; without the extra one error names it."""

from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest

import weft.media.audio
from weft.errors import NotBuiltError, RequestError
from weft.media.audio import read_audio
from weft.media.encoded_audio import EncodedAudio

RATE = 16_000


def tone(seconds, rate):
    return np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def file(samples, rate, kind="WAV"):
    soundfile = pytest.importorskip("soundfile")
    out = BytesIO()
    soundfile.write(out, samples, rate, format=kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_stereo_file_of_another_rate_becomes_mono_at_the_models(kind):
    pytest.importorskip("soxr")
    data = file(np.stack([tone(0.5, 44_100)] * 2, axis=1), 44_100, kind)

    found = read_audio(EncodedAudio(field="here", data=b64encode(data).decode()), RATE, field="here")

    assert found.dtype == np.float32
    assert abs(len(found) - RATE // 2) < 1200             # MP3 pads to whole frames
    middle = slice(2000, 6000)
    spectrum = np.abs(np.fft.rfft(found[middle]))
    assert np.argmax(spectrum) * RATE / 4000 == pytest.approx(440, abs=4)


@pytest.mark.parametrize(("data", "words"), [
    (b"RIFF", "a whole file"), (b"", "a whole file"), ("no base64!", "base64 text"),
    (bytes((25 << 20) + 1), "at most 26214400 bytes")])
def test_a_broken_or_large_file_is_refused_by_its_place(data, words):
    pytest.importorskip("soundfile")

    with pytest.raises(RequestError, match=words) as refused:
        read_audio(EncodedAudio(field="part[0]", data=data), RATE, field="unused")

    assert refused.value.field == "part[0]"


def test_a_file_that_is_too_long_is_refused_by_its_header(monkeypatch):
    data = file(np.zeros(3000, np.float32), 1000)
    monkeypatch.setattr(weft.media.audio, "MAX_SECONDS", 2)

    with pytest.raises(RequestError, match=r"3\.0 s"):
        read_audio(EncodedAudio(field="here", data=data), RATE, field="here")


def test_without_soxr_another_rate_names_the_extra(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(weft.media.audio, "import_module", missing)

    with pytest.raises(NotBuiltError, match=r"weft\[audio\]"):
        read_audio((tone(0.1, 8000), 8000), RATE, field="here")
    assert len(read_audio((tone(0.1, RATE), RATE), RATE, field="here")) == RATE // 10
