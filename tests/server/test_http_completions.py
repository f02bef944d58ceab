"""POST /v1/completions as the official client sees it."""

from __future__ import annotations

import httpx
import openai
import pytest
from fake_engine import FakeEngine
from tokenizers import Tokenizer as Backend
from toy_engine import save_tokenizer

from weft.config.engine_config import TokenizerConfig
from weft.text.tokenizer import load_tokenizer


@pytest.fixture
def engine():
    return FakeEngine("Hello, wörld")


@pytest.fixture
def client(engine, start_server):
    return openai.OpenAI(base_url=start_server(engine) + "/v1", api_key="unused", max_retries=0)


def test_a_text_prompt_is_answered(client, engine):
    answer = client.completions.create(model="toy", prompt="Say", max_tokens=50)

    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("Hello, wörld", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 14, 17)
    assert engine.prompts == [list(b"Say")]


def test_the_default_is_sixteen_tokens(start_server):
    url = start_server(FakeEngine("x" * 100))

    choice = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "max_tokens": None}).json()["choices"][0]

    assert (len(choice["text"]), choice["finish_reason"], choice["stop_reason"]) == (16, "length", None)


def test_token_ids_are_a_prompt(client, engine):
    client.completions.create(model="toy", prompt=[72, 105], max_tokens=1)
    client.completions.create(model="toy", prompt=[[72], [105, 33]], max_tokens=1)

    assert engine.prompts == [[72, 105], [72], [105, 33]]


def test_choices_of_several_prompts_are_numbered_prompt_times_n_plus_answer(client):
    answer = client.completions.create(model="toy", prompt=["a", "bc"], n=2, max_tokens=3, temperature=1.0)

    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answer.choices] == ["Hel"] * 4
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 12)


def test_a_stream_says_the_same_as_the_whole_answer(client):
    chunks = list(client.completions.create(model="toy", prompt="a", max_tokens=50, stream=True,
                                            stream_options={"include_usage": True}))

    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "Hello, wörld"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:-1]] == ["stop"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 14
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_of_several_prompts_keeps_their_choices_apart(client):
    texts = {}
    stream = client.completions.create(model="toy", prompt=["a", "b"], n=2, temperature=1.0, max_tokens=5, stream=True)
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text

    assert texts == {0: "Hello", 1: "Hello", 2: "Hello", 3: "Hello"}


def test_usage_can_be_told_in_every_chunk(client):
    chunks = list(client.completions.create(
        model="toy", prompt="abc", max_tokens=3, stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True}))

    assert [chunk.usage.completion_tokens for chunk in chunks] == [1, 2, 3, 3]
    assert {chunk.usage.prompt_tokens for chunk in chunks} == {3}


def test_stop_strings_end_the_text_and_are_named(client):
    choice = client.completions.create(model="toy", prompt="a", stop=[", w", "zzz"], max_tokens=50).choices[0]

    assert (choice.text, choice.finish_reason, choice.stop_reason) == ("Hello", "stop", ", w")


def test_echo_puts_the_prompt_first(client):
    text = client.completions.create(model="toy", prompt="Say: ", echo=True, max_tokens=5).choices[0].text
    from_ids = client.completions.create(model="toy", prompt=[83, 97], echo=True, max_tokens=5).choices[0].text
    stream = client.completions.create(model="toy", prompt="Say: ", echo=True, max_tokens=5, stream=True)

    assert (text, from_ids) == ("Say: Hello", "SaHello")
    assert "".join(chunk.choices[0].text for chunk in stream) == "Say: Hello"


def test_logprobs_name_the_sampled_token_and_the_likeliest(client):
    found = client.completions.create(model="toy", prompt="q", logprobs=1, max_tokens=2).choices[0].logprobs

    assert found.tokens == ["H", "e"]
    assert found.token_logprobs == [-1.25, -1.25]
    assert found.top_logprobs == [{"H": -1.25, "a": -0.5}, {"e": -1.25, "a": -0.5}]
    assert found.text_offset == [0, 1]


def test_logprobs_zero_tells_the_sampled_token_only(client):
    found = client.completions.create(model="toy", prompt="q", logprobs=0, max_tokens=1).choices[0].logprobs

    assert found.top_logprobs == [{"H": -1.25}]


def test_minus_infinity_is_written_as_minus_9999(client):
    found = client.completions.create(model="toy", prompt="q", logprobs=3, max_tokens=1).choices[0].logprobs

    assert found.top_logprobs[0]["z"] == -9999.0


def test_echo_with_logprobs_scores_the_prompt(client):
    choice = client.completions.create(model="toy", prompt="Say", logprobs=0, echo=True, max_tokens=1).choices[0]
    found = choice.logprobs

    assert found.tokens == ["S", "a", "y", "H"]
    assert found.token_logprobs == [None, -1.25, -1.25, -1.25]
    assert found.text_offset == [0, 1, 2, 3]


def test_echo_with_no_tokens_only_scores_the_prompt(client):
    choice = client.completions.create(model="toy", prompt="Say", logprobs=0, echo=True, max_tokens=0).choices[0]

    assert choice.text == "Say"
    assert choice.logprobs.tokens == ["S", "a", "y"]


def test_streamed_logprobs_are_those_of_the_whole_answer(client):
    options = {"model": "toy", "prompt": "Say", "logprobs": 2, "echo": True, "max_tokens": 4}
    whole = client.completions.create(**options).choices[0].logprobs
    chunks = list(client.completions.create(**options, stream=True))

    pieces = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [item for piece in pieces for item in getattr(piece, name)] == getattr(whole, name)


def test_tokens_can_be_named_by_their_ids(client):
    found = client.completions.create(model="toy", prompt="q", logprobs=1, max_tokens=1,
                                      extra_body={"return_tokens_as_token_ids": True}).choices[0].logprobs

    assert found.tokens == ["token_id:72"]
    assert found.top_logprobs == [{"token_id:72": -1.25, "token_id:97": -0.5}]


def test_prompt_logprobs_come_with_rank_and_text(client):
    answer = client.completions.create(model="toy", prompt="Sa", max_tokens=1, extra_body={"prompt_logprobs": 1})

    assert answer.choices[0].prompt_logprobs == [
        None, {"97": {"logprob": -1.25, "rank": 2, "decoded_token": "a"}}]


def test_token_ids_come_back_when_asked_for(client):
    extra = {"return_token_ids": True}
    choice = client.completions.create(model="toy", prompt="Sa", max_tokens=2, extra_body=extra).choices[0]
    chunks = list(client.completions.create(model="toy", prompt="Sa", max_tokens=2, extra_body=extra, stream=True))

    assert (choice.prompt_token_ids, choice.token_ids) == ([83, 97], [72, 101])
    assert chunks[0].choices[0].prompt_token_ids == [83, 97]
    assert [token_id for chunk in chunks for token_id in chunk.choices[0].token_ids] == [72, 101]


def test_every_sampling_field_reaches_the_engine(client, engine):
    fields = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "stop_token_ids": [7], "min_tokens": 1,
              "include_stop_str_in_output": True, "ignore_eos": True, "skip_special_tokens": False,
              "spaces_between_special_tokens": False, "allowed_token_ids": [72, 101], "bad_words": ["no"]}
    client.completions.create(model="toy", prompt="a", max_tokens=2, temperature=0.5, top_p=0.9, presence_penalty=0.1,
                              frequency_penalty=0.2, seed=11, logit_bias={"72": 3}, extra_body=fields)

    params = engine.params
    assert {name: getattr(params, name) for name in fields} == fields
    assert (params.temperature, params.top_p, params.presence_penalty, params.frequency_penalty, params.seed) == (
        0.5, 0.9, 0.1, 0.2, 11)
    assert params.logit_bias == {72: 3.0}


def test_a_prompt_can_be_cut_to_its_last_tokens(client, engine):
    choice = client.completions.create(model="toy", prompt="abcdef", max_tokens=1, echo=True,
                                       extra_body={"truncate_prompt_tokens": 2}).choices[0]

    assert engine.prompts == [[101, 102]]
    assert choice.text == "efH"


def test_a_prompt_can_be_cut_to_its_first_tokens(client, engine):
    client.completions.create(model="toy", prompt="abcdef", max_tokens=1,
                              extra_body={"truncate_prompt_tokens": 2, "truncation_side": "right"})

    assert engine.prompts == [[97, 98]]


def test_the_prompts_text_is_told_where_it_is_asked_for(client):
    asked = {"return_prompt_text": True}
    whole = client.completions.create(model="toy", prompt=[72, 105], max_tokens=1, extra_body=asked)
    chunks = list(client.completions.create(model="toy", prompt="ab", max_tokens=2, stream=True, extra_body=asked))

    assert whole.choices[0].prompt_text == "Hi"
    assert [getattr(chunk.choices[0], "prompt_text", None) for chunk in chunks] == ["ab", None]


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    """The tokenizer of bytes with tokens for filling in the middle: 259 before, 260 behind, 261 middle, 262 ends."""
    directory = save_tokenizer(tmp_path_factory.mktemp("coder"))
    backend = Backend.from_file(str(directory / "tokenizer.json"))
    backend.add_special_tokens(["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"])
    backend.save(str(directory / "tokenizer.json"))
    return load_tokenizer(TokenizerConfig(path=str(directory)))


def test_a_suffix_asks_for_the_text_between(coder, start_server):
    engine = FakeEngine("mid", tokenizer=coder, vocab_size=263)
    client = openai.OpenAI(base_url=start_server(engine) + "/v1", api_key="unused", max_retries=0)

    answer = client.completions.create(model="toy", prompt="ab", suffix="yz", max_tokens=9, echo=True)
    streamed = list(client.completions.create(model="toy", prompt=["ab", "c"], suffix="yz", max_tokens=9, stream=True))
    plain = client.completions.create(model="toy", prompt="ab", suffix="", max_tokens=9)

    assert engine.prompts == [[259, 97, 98, 260, 121, 122, 261]] * 2 + [[259, 99, 260, 121, 122, 261], [97, 98]]
    assert answer.choices[0].text == "abmid" and plain.choices[0].text == "mid"
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices[0].index == 0) == "mid"


def test_a_token_that_ends_a_file_ends_the_text_between(coder, start_server):
    engine = FakeEngine(tokenizer=coder, vocab_size=263)

    httpx.post(start_server(engine) + "/v1/completions", json={"prompt": "a", "suffix": "b", "stop_token_ids": [7]})

    assert engine.params.stop_token_ids == [7, 262]


@pytest.mark.parametrize("fields", [{"prompt": "a"}, {"prompt": [1, 2]}, {"prompt": "a", "suffix": 7}])
def test_a_suffix_that_cannot_be_is_named(start_server, fields):
    answer = httpx.post(start_server(FakeEngine()) + "/v1/completions", json={"suffix": "b"} | fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "suffix")


def test_what_a_request_leaves_open_comes_from_the_generation_config(start_server):
    engine = FakeEngine(generation_defaults={"temperature": 0.25, "top_k": 7, "max_new_tokens": 3})
    url = start_server(engine)

    text = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "top_k": 9}).json()["choices"][0]["text"]

    assert (engine.params.temperature, engine.params.top_k) == (0.25, 9)
    assert text == "Hel"       # max_new_tokens is a cap


def test_fields_that_nobody_knows_are_named_in_a_header(start_server):
    url = start_server(FakeEngine())

    answer = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "temprature": 1, "foo": [], "user": "me"})

    assert answer.status_code == 200
    assert answer.headers["X-Weft-Ignored-Fields"] == "foo, temprature"


@pytest.mark.parametrize("name", ["", " ", " x", "x ", "\t", "x\n", "x\r\nSet-Cookie: a=b", "\x00", "ü", "n" * 65])
def test_an_unknown_field_that_no_header_can_name_is_still_answered(start_server, name):
    url = start_server(FakeEngine())

    answer = httpx.post(f"{url}/v1/completions", json={"prompt": "a", name: 1, "foo": 2})

    assert answer.status_code == 200
    assert set(answer.headers["X-Weft-Ignored-Fields"].split(", ")) == {"(unprintable)", "foo"}


@pytest.mark.parametrize("fields, seen", [
    ({"max_tokens": 4.0}, {"max_tokens": 4}), ({"max_tokens": 4e0}, {"max_tokens": 4}), ({"n": 1.0}, {"n": 1}),
    ({"top_k": 3.0}, {"top_k": 3}), ({"seed": 7.0}, {"seed": 7}), ({"min_tokens": 2.0}, {"min_tokens": 2}),
    ({"stop_token_ids": [5.0]}, {"stop_token_ids": [5]}), ({"logprobs": 2.0}, {"logprobs": 2}),
    ({"logprobs": True}, {"logprobs": 1}), ({"logprobs": False}, {"logprobs": None}), ({"best_of": 1.0}, {"n": 1}),
], ids=str)
def test_a_whole_number_may_be_written_with_a_point(client, engine, fields, seen):
    client.completions.create(model="toy", prompt=[1.0, 2], extra_body=fields)

    assert {name: getattr(engine.params, name) for name in seen} == seen


def test_the_clients_request_id_is_kept(start_server):
    url = start_server(FakeEngine(), enable_request_id_headers=True)

    by_header = httpx.post(f"{url}/v1/completions", json={"prompt": "a"}, headers={"X-Request-Id": "abc"})
    by_field = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "request_id": "mine"})

    assert (by_header.json()["id"], by_header.headers["X-Request-Id"]) == ("cmpl-abc", "abc")
    assert by_field.json()["id"] == "cmpl-mine"


async def test_the_asynchronous_client_runs_requests_side_by_side(engine, start_server):
    import asyncio

    async with openai.AsyncOpenAI(base_url=start_server(engine) + "/v1", api_key="unused") as client:
        answers = await asyncio.gather(*(client.completions.create(model="toy", prompt="a", max_tokens=5)
                                         for _ in range(10)))

    assert [answer.choices[0].text for answer in answers] == ["Hello"] * 10


def test_without_a_tokenizer_token_ids_go_in_and_out(start_server):
    url = start_server(FakeEngine(tokenizer=False))

    choice = httpx.post(f"{url}/v1/completions", json={
        "prompt": [1, 2], "max_tokens": 2, "return_token_ids": True, "logprobs": 0}).json()["choices"][0]
    refusal = httpx.post(f"{url}/v1/completions", json={"prompt": "text"})

    assert (choice["text"], choice["token_ids"], choice["logprobs"]["tokens"]) == (
        "", [72, 101], ["token_id:72", "token_id:101"])
    assert refusal.status_code == 400
