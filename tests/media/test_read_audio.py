"""Files of audio are decoded under limits, mixed to mono and resampled; without the extra one error names it."""

from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest

import weft.media.audio
from weft.errors import NotBuiltError, RequestError
from weft.media import audio_file
from weft.media.audio import read_audio
from weft.media.audio_file import AudioToDecode, decode_audio
from weft.media.decoder import AudioDecoder
from weft.media.encoded_audio import EncodedAudio

RATE = 16_000


@pytest.fixture(scope="module")
def files():
    made = AudioDecoder()
    yield made
    made.close()


def tone(seconds, rate):
    return np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def file(samples, rate, kind="WAV"):
    soundfile = pytest.importorskip("soundfile")
    out = BytesIO()
    soundfile.write(out, samples, rate, format=kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_stereo_file_of_another_rate_becomes_mono_at_the_models(files, kind):
    pytest.importorskip("soxr")
    data = file(np.stack([tone(0.5, 44_100)] * 2, axis=1), 44_100, kind)

    found = files.decoded(EncodedAudio(field="here", data=b64encode(data).decode()), RATE)

    assert found.dtype == np.float32
    assert abs(len(found) - RATE // 2) < 1200             # MP3 pads to whole frames
    middle = slice(2000, 6000)
    spectrum = np.abs(np.fft.rfft(found[middle]))
    assert np.argmax(spectrum) * RATE / 4000 == pytest.approx(440, abs=4)


@pytest.mark.parametrize(("data", "words"), [
    (b"RIFF", "a whole file"), (b"", "a whole file"), ("no base64!", "base64 text")])
def test_a_broken_file_is_refused_by_its_place(files, data, words):
    pytest.importorskip("soundfile")

    with pytest.raises(RequestError, match=words) as refused:
        files.decoded(EncodedAudio(field="part[0]", data=data), RATE)

    assert refused.value.field == "part[0]"


def test_a_file_that_is_too_long_is_refused_by_its_header(monkeypatch):
    data = file(np.zeros(3000, np.float32), 1000)
    monkeypatch.setattr(audio_file, "MAX_SECONDS", 2)

    assert decode_audio(AudioToDecode(data=data, rate=RATE)).value == "3.0 s"


def test_a_file_that_ends_the_process_ends_it_alone():
    data, small = file(np.zeros(2_000_000, np.float32), 8000), AudioDecoder(max_bytes=1 << 20)

    for _ in range(2):
        with pytest.raises(RequestError, match=r"here.*ended the process"):
            small.decoded(EncodedAudio(field="here", data=data), RATE)
    small.close()


def test_without_soxr_another_rate_names_the_extra(monkeypatch):
    monkeypatch.setattr(weft.media.audio, "find_spec", lambda name: None)

    with pytest.raises(NotBuiltError, match=r"weft\[audio\]"):
        read_audio((tone(0.1, 8000), 8000), RATE, field="here")
    assert len(read_audio((tone(0.1, RATE), RATE), RATE, field="here")) == RATE // 10
