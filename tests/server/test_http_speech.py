"""Files of audio become text over HTTP: the tokens are those of Transformers' class for each piece of the file."""

import io
import json
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from fake_engine import FakeEngine
from http_server import running_server
from openai import OpenAI
from tiny_audio import RATE, clip
from tiny_whisper import IDS, START, transcribed, write_whisper

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.errors import QueueFullError, RequestError
from weft.media.quiet_cuts import cut_at_quiet
from weft.server.options import ServerOptions
from weft.server.speech.open_audio import OpenAudio
from weft.server.speech.recognised import Recognition

soundfile = pytest.importorskip("soundfile")
LONG = np.concatenate([clip(i, seconds=0.6) for i in range(4)])      # 2.4 s, and the model hears 1 s
COUNT = 10
hold = OpenAudio.hold
_TIME = IDS["<|notimestamps|>"] + 1


def file_of(samples):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(URL, model of Transformers, tokenizer)."""
    directory = tmp_path_factory.mktemp("whisper")
    model = write_whisper(directory)
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(directory), dtype="float32", num_threads=1, kv_cache_memory_bytes=2**21,
        served_model_name=("ears",)))
    try:
        with running_server(engine, ServerOptions()) as url:
            yield url, model, engine.tokenizer
    finally:
        engine.shutdown()


def client(made):
    return OpenAI(base_url=f"{made[0]}/v1", api_key="none", max_retries=0).audio


def said(made, samples, start, prompt=()):
    """(tokens of each piece, their text) as Transformers' class has them."""
    _, model, tokenizer = made
    ids = []
    for first, end in cut_at_quiet(samples, RATE, RATE):
        found = transcribed(model, samples[first:end], [*prompt, *(IDS[text] for text in start)], COUNT)
        ids.append(found[: found.index(IDS["<|endoftext|>"])] if IDS["<|endoftext|>"] in found else found)
    words = [[token_id for token_id in piece if token_id < _TIME] for piece in ids]
    return ids, "".join(map(tokenizer.decode, words)).strip()


def ask(made, samples, **fields):
    fields = {"model": "ears", "max_completion_tokens": COUNT, "language": "en"} | fields
    return httpx.post(f"{made[0]}/v1/audio/transcriptions", files={"file": ("a.wav", file_of(samples))}, data=fields,
                      timeout=60)


@pytest.mark.filterwarnings("ignore:deprecated")
@pytest.mark.parametrize(("route", "task"), [("transcriptions", "<|transcribe|>"), ("translations", "<|translate|>")])
def test_a_long_file_is_recognised_piece_by_piece(made, route, task):
    start = [START[0], "<|de|>", task, START[3]]
    found = getattr(client(made), route).create(
        model="ears", file=("a.wav", file_of(LONG)),
        extra_body={"max_completion_tokens": COUNT, "language": "de"})

    ids, text = said(made, LONG, start)
    assert len(ids) > 2
    assert found.text == text
    if route == "transcriptions":
        assert found.usage.seconds == 3


def test_an_earlier_text_stands_before_the_start(made):
    tokens = made[2].encode(" before", add_special_tokens=False)
    prompt = [IDS["<|startofprev|>"], *tokens]

    assert ask(made, clip(0), prompt="before").json()["text"] == said(made, clip(0), START, prompt)[1]


def test_without_a_language_the_model_says_which_one_it_hears(made):
    _, model, _ = made
    answer = ask(made, clip(2), language="", response_format="verbose_json").json()

    scores = {language: transcribed_score(model, clip(2), IDS[f"<|{language}|>"]) for language in ("en", "de")}
    assert answer["language"] == max(scores, key=scores.get)


def transcribed_score(model, samples, token_id):
    import torch
    import transformers

    features = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1)(
        samples, sampling_rate=RATE, return_tensors="pt").input_features
    with torch.inference_mode():
        return float(model(input_features=features, decoder_input_ids=torch.tensor([[IDS[START[0]]]])
                           ).logits[0, -1, token_id])


def test_segments_have_the_times_of_the_file(made):
    ids, text = said(made, LONG, [*START[:3], "<|0.00|>"])
    answer = ask(made, LONG, response_format="verbose_json", **{"timestamp_granularities[]": "segment"}).json()
    starts = [first / RATE for first, _ in cut_at_quiet(LONG, RATE, RATE)]

    assert answer["text"] == text
    assert [answer[key] for key in ("task", "language", "duration")] == ["transcribe", "en", 2.4]
    words = [token_id for piece in ids for token_id in piece if token_id < IDS["<|endoftext|>"]]
    assert [token_id for segment in answer["segments"] for token_id in segment["tokens"]] == words
    assert all(any(start <= segment["start"] <= segment["end"] <= start + 1.0 for start in starts)
               for segment in answer["segments"])


def test_subtitles_are_numbered_and_timed(made):
    srt, vtt = (ask(made, clip(0), response_format=form) for form in ("srt", "vtt"))

    assert srt.text.startswith("1\n00:00:0") and "," in srt.text.splitlines()[1]
    assert vtt.text.startswith("WEBVTT\n\n00:00:0") and "," not in vtt.text.splitlines()[2]
    assert vtt.headers["content-type"].startswith("text/vtt")


def test_a_stream_gives_openais_events(made):
    events = list(client(made).transcriptions.create(
        model="ears", file=("a.wav", file_of(LONG)), language="en", stream=True,
        extra_body={"max_completion_tokens": COUNT}))

    deltas = [event.delta for event in events[:-1]]
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert (events[-1].type, events[-1].text) == ("transcript.text.done", "".join(deltas))
    assert events[-1].text.strip() == said(made, LONG, START)[1]


def test_plain_text_is_the_text_alone(made):
    answer = ask(made, clip(1), response_format="text")

    assert answer.text == said(made, clip(1), START)[1] + "\n"
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(("fields", "param"), [
    ({"language": "xx"}, "language"), ({"response_format": "xml"}, "response_format"),
    ({"temperature": "hot"}, "temperature"), ({"stream": "maybe"}, "stream"),
    ({"stream": "true", "response_format": "srt"}, "stream"), ({"max_completion_tokens": "0"}, "max_completion_tokens"),
    ({"timestamp_granularities[]": "segment"}, "timestamp_granularities"),
])
def test_a_wrong_field_is_named(made, fields, param):
    answer = ask(made, clip(0), **fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


@pytest.mark.parametrize(("given", "status", "param"), [
    ({"files": {"file": ("a.wav", b"RIFFnot audio")}}, 400, "file"),
    ({"files": {"file": ("a.wav", b"")}}, 400, "file"),
    ({"files": {"other": ("a.wav", file_of(clip(0)))}}, 400, "file"),
    ({"files": {"file": ("a.wav", b"x" * (26 << 20))}}, 400, "file"),
    ({"files": {"file": ("a.wav", b"x" * (33 << 20))}}, 413, None),
    ({"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, 400, None),
    ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, 400, None),
    ({"json": {"file": "x"}}, 400, "Content-Type"),
])
def test_a_body_without_one_file_of_audio_is_refused(made, given, status, param):
    answer = httpx.post(f"{made[0]}/v1/audio/transcriptions", timeout=60, **given)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


def test_a_model_that_hears_nothing_says_so():
    with running_server(FakeEngine(), ServerOptions()) as url:
        answer = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": ("a.wav", file_of(clip(0)))})

    assert answer.status_code == 400
    assert json.loads(answer.content)["error"]["param"] == "model"


@pytest.mark.parametrize(("headers", "content", "said"), [
    ("multipart/form-data; boundary=b; charset=punycode", b"", "UTF-8"),
    ("multipart/form-data; boundary=b", b"", "model more than once"),
    ("multipart/form-data; boundary=b", b"[]", "model more than once"),
])
def test_a_form_that_cannot_be_read_in_one_way_is_refused(made, headers, content, said):
    body = b"".join(b'--b\r\nContent-Disposition: form-data; name="model' + end + b'"\r\n\r\nears\r\n'
                    for end in (b"", content)) + b"--b--\r\n"

    refused = httpx.post(f"{made[0]}/v1/audio/transcriptions", content=body, headers={"Content-Type": headers})

    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]


def test_open_audio_is_bounded_and_given_back_with_its_owner():
    class Owner:
        pass

    audio, owner = OpenAudio(), Owner()
    for _ in range(4):
        audio.reserve()
    with pytest.raises(QueueFullError, match="28800 s may be held"):
        audio.reserve()

    audio.hold(owner, 10.0)
    assert audio.seconds == 3 * 7200 + 10
    del owner
    assert audio.seconds == 3 * 7200


def test_the_audio_of_an_answered_request_is_given_back(made, monkeypatch):
    seen = []
    monkeypatch.setattr(OpenAudio, "hold", lambda self, owner, seconds: seen.append(self) or hold(self, owner, seconds))

    ask(made, LONG, language="de")

    assert [audio.seconds for audio in seen] == [pytest.approx(0, abs=1e-6)]


def test_a_model_of_english_alone_refuses_another_language(made):
    model = SimpleNamespace(is_multilingual=False, name="ears.en")

    with pytest.raises(RequestError, match="language = 'de': expected en"):
        Recognition.read(model, made[2], 448, task="transcribe", language="DE", form="json", earlier="")
