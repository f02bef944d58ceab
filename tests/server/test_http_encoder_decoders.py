"""A model with an encoder over HTTP: the prompt is the encoder's, and `forced_bos_token` begins the answer."""

from __future__ import annotations

import httpx
import pytest
from http_server import running_server
from tiny_encoder_decoders import generated, write_pair

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions

BODY = {"model": "pair", "prompt": "ab", "max_tokens": 6, "temperature": 0, "ignore_eos": True,
        "return_token_ids": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(directory, model of Transformers)."""
    directory = tmp_path_factory.mktemp("m2m100")
    return directory, write_pair(directory, "m2m100", forced_bos_token_id=9)


@pytest.fixture(scope="module")
def client(made, toy_tokenizer):
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(made[0]), tokenizer=str(toy_tokenizer), dtype="float32", kv_cache_memory_bytes=2**20, num_threads=1,
        max_model_len=64, served_model_name=("pair",), model_impl="native"))
    try:
        with running_server(engine, ServerOptions()) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield client
    finally:
        engine.shutdown()


def answer(client, **changes):
    response = client.post("/v1/completions", json=BODY | changes)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["token_ids"]


def wanted(model, first):
    return generated(model, [97, 98], 6, eos_token_id=None, forced_bos_token_id=first)


def test_the_prompt_is_the_encoders(made, client):
    assert answer(client) == wanted(made[1], 9)


@pytest.mark.parametrize("token", ["c", 99])
def test_a_forced_token_is_a_text_or_an_id(made, client, token):
    assert answer(client, forced_bos_token=token) == wanted(made[1], 99)


def test_beams_begin_with_the_forced_token(client):
    assert answer(client, forced_bos_token="c", use_beam_search=True, best_of=2)[0] == 99


@pytest.mark.parametrize(("token", "words"), [
    ("abc", "the text of one token"), (300, "a token id from 0 to 259"), (1.5, "an id from 0"), (-1, "an id from 0"),
    ([7], "the text of a token"), (True, "the text of a token")])
def test_what_is_no_token_is_refused(client, token, words):
    response = client.post("/v1/completions", json=BODY | {"forced_bos_token": token})

    assert response.status_code == 400
    assert "forced_bos_token" in response.text
    assert words in response.text


def test_an_input_longer_than_the_encoder_takes_is_refused(client):
    response = client.post("/v1/completions", json=BODY | {"prompt": "a" * 129})

    assert response.status_code == 400
    assert "the most that the encoder takes" in response.text
