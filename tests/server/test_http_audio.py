"""Clips of audio in conversations over HTTP: answers are those of `LLM.chat`, and a wrong clip is one error."""

import base64
import io

import httpx
import pytest
from http_server import running_server
from openai import OpenAI
from tiny_audio import RATE, clip, write_audio_model

from weft import LLM, SamplingParams
from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.errors import RequestError
from weft.server.options import ServerOptions

soundfile = pytest.importorskip("soundfile")
COUNT = 6
GREEDY = {"max_tokens": COUNT, "temperature": 0, "ignore_eos": True}
WORDS = {"type": "text", "text": "w1 w2"}


def file64(number):
    """A FLAC file of 16 bits in base64."""
    file = io.BytesIO()
    soundfile.write(file, clip(number), RATE, format="FLAC", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def samples(number):
    return soundfile.read(io.BytesIO(base64.b64decode(file64(number))), dtype="float32")


def input_audio(number):
    return {"type": "input_audio", "input_audio": {"data": file64(number), "format": "flac"}}


def audio_url(number):
    return {"type": "audio_url", "audio_url": {"url": f"data:audio/flac;base64,{file64(number)}"}}


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("qwen2-audio")
    write_audio_model(directory, "qwen2-audio")
    return directory


@pytest.fixture(scope="module")
def wanted(directory):
    """(ids of the prompt, text of the answer) for samples in Python, for both clips and for a file."""
    chats = [user(WORDS, {"type": "audio", "audio": samples(0)}),
             user({"type": "audio", "audio": samples(0)}, WORDS, {"type": "audio", "audio": samples(1)}),
             user(WORDS, input_audio(0))]
    with LLM(model=str(directory), dtype="float32", max_model_len=160, num_threads=1, use_tqdm_on_load=False) as llm:
        outputs = llm.chat(chats, SamplingParams(**GREEDY), use_tqdm=False)
        with pytest.raises(RequestError, match=r"content\[0\].audio"):
            llm.chat(user({"type": "audio"}), use_tqdm=False)
    return [(output.prompt_token_ids, output.outputs[0].text) for output in outputs]


@pytest.fixture(scope="module")
def url(directory):
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(directory), dtype="float32", max_model_len=160, num_threads=1, kv_cache_memory_bytes=2**20,
        served_model_name=("ears",)))
    try:
        with running_server(engine, ServerOptions()) as url:
            yield url
    finally:
        engine.shutdown()


def test_a_file_in_a_chat_of_python_is_the_clip_itself(wanted):
    assert wanted[2] == wanted[0]


def test_parts_of_openai_and_of_vllm_give_the_answers_of_python(url, wanted):
    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    chats = [user(WORDS, input_audio(0)), user(audio_url(0), WORDS, input_audio(1))]

    found = [client.chat.completions.create(
        model="ears", messages=messages, max_tokens=COUNT, temperature=0,
        extra_body={"ignore_eos": True, "return_token_ids": True}) for messages in chats]

    assert [(each.prompt_token_ids, each.choices[0].message.content) for each in found] == wanted[:2]


@pytest.mark.parametrize(("part", "field"), [
    ({"type": "input_audio"}, "input_audio"),
    ({"type": "input_audio", "input_audio": {"data": 3}}, "input_audio.data"),
    ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "input_audio.data"),
    ({"type": "audio_url", "audio_url": {"url": "https://example.com/a.wav"}}, "audio_url"),
    ({"type": "audio_url", "audio_url": "data:image/png;base64,AAAA"}, "audio_url"),
    ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "image_url"),
])
def test_a_wrong_clip_is_one_error_that_names_its_part(url, part, field):
    response = httpx.post(f"{url}/v1/chat/completions", json={"messages": user(WORDS, part)} | GREEDY, timeout=60)

    assert response.status_code in (400, 501), response.text
    assert f"messages[0].content[1].{field}" in response.json()["error"]["message"]
