"""What a client can do wrong, and what it is told: status, type and the field's name. The server goes on every time."""

from __future__ import annotations

import json

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import running_server

from weft.errors import EngineDeadError, QueueFullError
from weft.server.body import decode_object
from weft.server.errors import ApiError, dotted
from weft.server.options import ServerOptions

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def url():
    with running_server(FakeEngine(), ServerOptions(max_body_bytes=1_000_000)) as url:
        yield url


def check_error(answer: httpx.Response, status: int, kind: str, param: str | None) -> str:
    """The message of an error, after its whole shape was checked."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (answer.status_code, error["code"], error["type"], error["param"]) == (status, status, kind, param)
    assert error["message"]
    return error["message"]


FIELDS = [
    ({"prompt": None}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": 7}, "prompt"),
    ({"prompt": {}}, "prompt"), ({"prompt": [[]]}, "prompt.0"), ({"prompt": ["a", 1]}, "prompt.1"),
    ({"prompt": [1, "a"]}, "prompt.0"), ({"prompt": [1.5]}, "prompt.0"), ({"prompt": [True]}, "prompt.0"),
    ({"prompt": [-1]}, "prompt.0"), ({"prompt": [259]}, "prompt.0"), ({"prompt": [10**30]}, "prompt.0"),
    ({"prompt": [[1], [2, 259]]}, "prompt.1.1"), ({"prompt": ["a", "b" * 512]}, "prompt.1"),
    ({"prompt": ["a"] * 1025}, "prompt"), ({"prompt": "a" * 512}, "prompt"), ({"prompt": [1] * 5000}, "prompt"),
    ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": -5}, "max_tokens"), ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"), ({"max_tokens": 10**30}, "max_tokens"), ({"max_tokens": True}, "max_tokens"),
    ({"n": 0}, "n"), ({"n": 10**6}, "n"), ({"n": "2"}, "n"), ({"n": 2, "temperature": 0}, "n"),
    ({"prompt": ["a"] * 1000, "n": 100}, "n"), ({"stop_token_ids": [1] * 2000, "n": 10_000}, "n"),
    ({"prompt": [1] * 500, "allowed_token_ids": [1] * 2000, "n": 8000}, "n"),
    ({"temperature": -0.1}, "temperature"), ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 10**400}, "temperature"), ({"temperature": True}, "temperature"),
    ({"top_p": 0}, "top_p"), ({"top_p": 1.1}, "top_p"), ({"top_k": -2}, "top_k"), ({"top_k": 0.5}, "top_k"),
    ({"min_p": 2}, "min_p"), ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"), ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"seed": 2**64}, "seed"), ({"seed": "x"}, "seed"),
    ({"stop": ["a"] * 5}, "stop"), ({"stop": ["a"] * 10_000}, "stop"), ({"stop": [""]}, "stop.0"),
    ({"stop": [1]}, "stop.0"),
    ({"stop": 5}, "stop"), ({"stop_token_ids": [259]}, "stop_token_ids.0"), ({"stop_token_ids": "a"}, "stop_token_ids"),
    ({"min_tokens": -1}, "min_tokens"), ({"min_tokens": 9, "max_tokens": 8}, "min_tokens"),
    ({"logprobs": -2}, "logprobs"), ({"logprobs": 21}, "logprobs"), ({"logprobs": 1.5}, "logprobs"),
    ({"prompt_logprobs": 21}, "prompt_logprobs"), ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
    ({"logit_bias": {"999": 1}}, "logit_bias"), ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": [1]}, "logit_bias"),
    ({"logit_bias": {"1": "a"}}, "logit_bias.1"), ({"allowed_token_ids": []}, "allowed_token_ids"),
    ({"allowed_token_ids": [3, 999]}, "allowed_token_ids.1"), ({"bad_words": ["a"] * 129}, "bad_words"),
    ({"bad_words": ["a"] * 10_000}, "bad_words"), ({"bad_words": [""]}, "bad_words.0"),
    ({"bad_words": "a"}, "bad_words"),
    ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"), ({"truncation_side": "top"}, "truncation_side"),
    ({"logprob_token_ids": [259]}, "logprob_token_ids.0"), ({"logprob_token_ids": "a"}, "logprob_token_ids"),
    ({"logprob_token_ids": list(range(129))}, "logprob_token_ids"),
    ({"logprob_token_ids": [1], "logprobs": 2}, "logprobs"),
    ({"ignore_eos": 1}, "ignore_eos"), ({"stream_options": 3}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
    ({"stream": True, "stream_options": 1}, "stream_options"), ({"echo": "a"}, "echo"), ({"model": 1}, "model"),
    ({"priority": 1}, "priority"), ({"priority": 2**80}, "priority"), ({"request_id": "a b"}, "request_id"),
    ({"request_id": "x" * 300}, "request_id"), ({"cache_salt": ""}, "cache_salt"),
    ({"stream_interval": 0}, "stream_interval"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fields, param", FIELDS, ids=[f"{p}-{i}" for i, (_, p) in enumerate(FIELDS)])
def test_a_wrong_field_is_a_400_that_names_it_also_before_a_stream(url, fields, param, stream):
    body = {"prompt": "a", "stream": stream, **fields}

    answer = httpx.post(url + COMPLETIONS, content=json.dumps(body), headers={"Content-Type": "application/json"})

    check_error(answer, 400, "BadRequestError", param)


CHAT_FIELDS = [
    ({"messages": []}, "messages"), ({"messages": None}, "messages"), ({"messages": "Hi"}, "messages"),
    ({"messages": ["Hi"]}, "messages.0"), ({"messages": [{"role": 1, "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"content": "a"}]}, "messages.0.role"), ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [*HI, {"role": "user", "content": [{"type": "text"}]}]}, "messages.1.content.0.text"),
    ({"messages": [{"role": "user", "content": "a" * 600}]}, "messages"),
    ({"messages": HI * 10_001}, "messages"), ({"tools": []}, "tools"), ({"tools": "f"}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"), ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"), ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ({"logprobs": 3}, "logprobs"), ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_completion_tokens": 2**40}, "max_completion_tokens"),
    ({"logprobs": True, "top_logprobs": 2**40}, "top_logprobs"),
    ({"max_tokens": -1}, "max_tokens"), ({"max_completion_tokens": 2, "min_tokens": 3}, "min_tokens"),
    ({"chat_template": "{{ 1 }}"}, "chat_template"), ({"chat_template_kwargs": []}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs.chat_template"),
    ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs.tokenize"),
    ({"documents": 5}, "documents"), ({"continue_final_message": True}, "continue_final_message"),
    ({"stream_options": {}}, "stream_options"), ({"stream": "yes"}, "stream"),
]


@pytest.mark.parametrize("fields, param", CHAT_FIELDS, ids=[f"{p}-{i}" for i, (_, p) in enumerate(CHAT_FIELDS)])
def test_a_wrong_field_of_a_chat_is_a_400_that_names_it(url, fields, param):
    answer = httpx.post(url + CHAT, json={"messages": HI, **fields})

    check_error(answer, 400, "BadRequestError", param)


@pytest.mark.parametrize("field, value", [
    ("kv_transfer_params", {"a": 1})])
def test_a_known_field_without_code_is_a_501_that_names_it(url, field, value):
    check_error(httpx.post(url + COMPLETIONS, json={"prompt": "a", field: value}), 501, "NotImplementedError", field)


@pytest.mark.parametrize("value, param", [
    ("AAAA", "prompt_embeds"), (["AAAA"], "prompt_embeds.0"), ([[1.0]], "prompt_embeds.0"), ([], "prompt_embeds"),
    (7, "prompt_embeds")])
def test_embeddings_that_are_none_or_that_the_engine_does_not_take_are_a_400(url, value, param):
    check_error(httpx.post(url + COMPLETIONS, json={"prompt_embeds": value}), 400, "BadRequestError", param)


def test_a_completion_without_any_prompt_is_a_400(url):
    check_error(httpx.post(url + COMPLETIONS, json={"max_tokens": 3}), 400, "BadRequestError", "prompt")


def test_embeddings_have_no_text_to_echo(url):
    answer = httpx.post(url + COMPLETIONS, json={"prompt_embeds": "AAAA", "echo": True})

    check_error(answer, 400, "BadRequestError", "echo")


def test_a_chat_takes_no_embeddings(url):
    answer = httpx.post(url + CHAT, json={"messages": HI, "prompt_embeds": "AAAA"})

    check_error(answer, 501, "NotImplementedError", "prompt_embeds")


@pytest.mark.parametrize("fields", [{"n": 1, "best_of": 2, "temperature": 1.0}, {"use_beam_search": True}])
@pytest.mark.parametrize(("path", "prompt"), [(COMPLETIONS, {"prompt": "a"}), (CHAT, {"messages": HI})])
def test_the_best_of_several_answers_is_not_streamed(url, path, prompt, fields):
    answer = httpx.post(url + path, json={**prompt, **fields, "stream": True})

    check_error(answer, 400, "BadRequestError", "stream")
    assert "best" in answer.json()["error"]["message"]


@pytest.mark.parametrize("fields, status, param", [
    ({"n": 3, "best_of": 2, "temperature": 1.0}, 400, "best_of"), ({"best_of": 2, "temperature": 0}, 400, "best_of"),
    ({"best_of": 16385, "temperature": 1.0}, 400, "best_of"), ({"use_beam_search": 1}, 400, "use_beam_search"),
    ({"use_beam_search": True, "stop": "x"}, 501, "stop"), ({"use_beam_search": True, "logprobs": 1}, 501, "logprobs"),
    ({"use_beam_search": True, "early_stopping": "soon"}, 400, "early_stopping"),
    ({"use_beam_search": True, "length_penalty": 1000}, 400, "length_penalty")])
def test_a_wrong_field_of_a_choice_of_the_best_is_named(url, fields, status, param):
    answer = httpx.post(url + COMPLETIONS, json={"prompt": "a", **fields})

    check_error(answer, status, "BadRequestError" if status == 400 else "NotImplementedError", param)


@pytest.mark.parametrize("field, value", [
    ("response_format", {"type": "text"}), ("best_of", 1), ("use_beam_search", False),
    ("guided_json", None),
    ("parallel_tool_calls", True), ("user", "me"), ("metadata", {"a": "b"}),
    ("tool_choice", "none")])
def test_known_fields_that_say_off_are_taken(url, field, value):
    answer = httpx.post(url + CHAT, json={"messages": HI, field: value, "max_tokens": 1})

    assert answer.status_code == 200
    assert "x-weft-ignored-fields" not in answer.headers


BODIES = [
    (b"", "not JSON"), (b"{", "not JSON"), (b'{"prompt": "a"', "not JSON"), (b'{"prompt": "a"} x', "not JSON"),
    (b"[]", "a list"), (b'"a"', "a string"), (b"null", "null"), (b"3", "a number"), (b'{"prompt": "\xff"}', "UTF-8"),
    (b'{"prompt": "\\ud800"}', "not JSON"), (b'{"prompt": "a", "temperature": NaN}', "not JSON"),
    (b'{"prompt": "a", "temperature": Infinity}', "not JSON"), (b'{"prompt": "a", "temperature": 1e999}', "not JSON"),
    (b'{"prompt": "a", "seed": ' + b"9" * 6000 + b"}", "not JSON"), (b'{"prompt": ' + b"[" * 90_000, "nested"),
    (b'{"a":' * 30_000, "nested"), (b"\x00\x01\x02", "not JSON"), ('{"prompt": "ä"}'.encode("utf-16"), "not JSON"),
]


@pytest.mark.parametrize("body, reason", BODIES, ids=[f"{r}-{i}" for i, (_, r) in enumerate(BODIES)])
@pytest.mark.parametrize("path", [COMPLETIONS, "/tokenize"])
def test_a_body_that_is_no_json_object_is_a_400_that_says_why(url, path, body, reason):
    answer = httpx.post(url + path, content=body, headers={"Content-Type": "application/json"})

    assert reason in check_error(answer, 400, "BadRequestError", None)


@pytest.mark.parametrize(("path", "fields", "reason"), [
    ("/v1/chat/completions", {"tools": [{}] * 10_001}, "tools = [{}, {}, "),
    ("/v1/chat/completions", {"chat_template_kwargs": dict.fromkeys(map(str, range(1001)))}, "at most 1000 entries"),
    ("/v1/chat/completions/batch", {"messages": [[{}] * 5001] * 2}, "at most 10000 entries"),
    ("/v1/completions", dict.fromkeys(map(str, range(1001))), "fields: expected at most 1000."),
    ("/detokenize", {"tokens": ["a"] * 9}, "tokens.0 = 'a': expected an integer")])
def test_what_is_checked_in_one_piece_is_bounded(url, path, fields, reason):
    response = httpx.post(url + path, json={"messages": [{"role": "user", "content": "Hi"}], **fields})

    assert response.status_code == 400 and reason in response.json()["error"]["message"]


def test_a_byte_order_mark_before_a_body_is_passed_over(url):
    answer = httpx.post(url + "/tokenize", content=b'\xef\xbb\xbf{"prompt": "a"}',
                        headers={"Content-Type": "application/json"})

    assert answer.json()["count"] == 1


@pytest.mark.parametrize("content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_another_content_type_is_refused_so_that_no_page_can_send_forms_here(url, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}

    check_error(httpx.post(url + COMPLETIONS, content=b'{"prompt": "a"}', headers=headers), 400, "BadRequestError",
                "Content-Type")


def test_a_body_over_the_limit_is_a_413_said_before_it_is_read(url):
    answer = httpx.post(url + COMPLETIONS, json={"prompt": "a" * 1_200_000})

    check_error(answer, 413, "RequestEntityTooLargeError", None)


def test_a_body_of_unknown_length_is_read_up_to_the_limit(url):
    def pieces():
        yield b'{"prompt": "'
        for _ in range(1200):
            yield b"a" * 1000

    answer = httpx.post(url + COMPLETIONS, content=pieces(), headers={"Content-Type": "application/json"})

    check_error(answer, 413, "RequestEntityTooLargeError", None)


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT, "/tokenize"])
def test_an_unknown_model_is_a_404(url, path):
    answer = httpx.post(url + path, json={"model": "gpt-5", "prompt": "a", "messages": HI})

    assert "toy" in check_error(answer, 404, "NotFoundError", "model")


def test_unknown_paths_and_methods_have_the_same_shape(url):
    check_error(httpx.get(url + "/v1/nothing"), 404, "NotFoundError", None)
    wrong_method = httpx.get(url + COMPLETIONS)
    check_error(wrong_method, 405, "MethodNotAllowedError", None)
    assert wrong_method.headers["allow"] == "POST"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error, status, kind", [
    (QueueFullError("Too many wait."), 429, "RateLimitError"),
    (EngineDeadError("It ended."), 503, "ServiceUnavailableError")], ids=["full", "dead"])
def test_an_engine_that_takes_nothing_says_so(start_server, error, status, kind, stream):
    url = start_server(FakeEngine(refuse=error))

    answer = httpx.post(url + COMPLETIONS, json={"prompt": "a", "stream": stream})

    assert check_error(answer, status, kind, None) == str(error)
    assert ("retry-after" in answer.headers) == (status == 429)


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_an_error_inside_a_stream_is_an_event_before_done(start_server, path):
    url = start_server(FakeEngine("Hello", fail_at=2, error=EngineDeadError("It ended.")))

    answer = httpx.post(url + path, json={"prompt": "a", "messages": HI, "stream": True, "max_tokens": 9})

    events = answer.text.split("\n\n")
    assert answer.status_code == 200
    assert json.loads(events[-3].removeprefix("data: ")) == {"error": {
        "message": "It ended.", "type": "ServiceUnavailableError", "param": None, "code": 503}}
    assert events[-2] == "data: [DONE]"


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_an_error_nobody_foresaw_is_a_500_that_tells_nothing_of_the_inside(start_server, path):
    url = start_server(FakeEngine("Hello", fail_at=2, error=ZeroDivisionError("secret/path.py")))

    answer = httpx.post(url + path, json={"prompt": "a", "messages": HI})

    assert "secret" not in check_error(answer, 500, "InternalServerError", None)


def test_after_all_that_the_server_still_answers(url):
    assert httpx.post(url + COMPLETIONS, json={"prompt": "a"}).json()["choices"][0]["text"] == "Hello, world"


def test_a_dotted_path_is_made_of_any_field_name():
    assert dotted("messages[2].content[0].text") == "messages.2.content.0.text"


def test_a_body_may_repeat_a_name_and_the_last_one_counts():
    assert decode_object(b'{"n": 1, "n": 2}') == {"n": 2}


def test_a_body_may_be_nested_as_deep_as_json_needs():
    assert decode_object(b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}")["a"]
    with pytest.raises(ApiError):
        decode_object(b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}")
