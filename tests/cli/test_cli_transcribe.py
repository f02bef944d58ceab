"""`weft transcribe` writes what the model of Transformers says of each piece of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_audio import RATE, clip
from tiny_whisper import IDS, START, transcribed, write_whisper
from transformers import AutoTokenizer

soundfile = pytest.importorskip("soundfile")
ENGINE = ("--no-use-tqdm-on-load", "--dtype", "float32", "--num-threads", "1")
_EOS = IDS["<|endoftext|>"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, str]:
    """(checkpoint, file of audio, what Transformers' class says in German)."""
    directory = tmp_path_factory.mktemp("whisper")
    model = write_whisper(directory)
    path = directory / "talk.wav"
    soundfile.write(path, clip(0), RATE, subtype="FLOAT")
    start = [IDS[text] for text in (START[0], "<|de|>", *START[2:])]
    ids = [*transcribed(model, clip(0), start, 60), _EOS]
    words = [token_id for token_id in ids[: ids.index(_EOS)] if token_id < _EOS]
    return directory, path, AutoTokenizer.from_pretrained(directory).decode(words).strip()


def test_the_text_of_a_file_is_that_of_transformers(weft, made, tmp_path):
    directory, path, text = made
    output = tmp_path / "talk.txt"

    ran = weft("transcribe", directory, path, "--language", "de", "-o", output, *ENGINE)

    assert (ran.status, ran.out) == (0, "")
    assert output.read_text(encoding="utf-8") == text.rstrip("\n") + "\n"


def test_subtitles_and_json_have_times_and_the_language_that_was_heard(weft, made):
    directory, path, _ = made

    found = json.loads(weft("transcribe", directory, path, "-f", "verbose_json", *ENGINE).out)
    subtitles = weft("transcribe", directory, path, "-f", "srt", "--translate", *ENGINE).out

    assert found["language"] in ("en", "de") and found["duration"] == 0.5
    assert subtitles.startswith("1\n00:00:00,")


def test_what_is_no_audio_and_what_does_not_hear_is_refused(weft, made, checkpoint):
    directory, path, _ = made
    absent, broken, deaf = (weft("transcribe", *arguments, *ENGINE) for arguments in (
        (directory, directory / "none.wav"), (directory, directory / "config.json"), (checkpoint, path)))

    assert [ran.status for ran in (absent, broken, deaf)] == [1, 1, 1]
    assert "FILE" in absent.err and "FILE" in broken.err and "speech" in deaf.err
