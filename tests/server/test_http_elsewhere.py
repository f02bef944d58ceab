"""Routes of other servers and fields that nobody knows: what a client is told."""

from __future__ import annotations

import logging

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import ONE_BY_ONE, running_server

from weft.server.elsewhere import ELSEWHERE
from weft.server.options import ServerOptions

PATHS = [path for paths in ELSEWHERE.values() for path in paths]


@pytest.fixture(scope="module")
def url():
    with running_server(FakeEngine(), ServerOptions()) as url:
        yield url


def test_a_route_that_exists_elsewhere_is_a_501_with_a_sentence(url):
    with httpx.Client(base_url=url, limits=ONE_BY_ONE) as client:
        answers = {path: client.post(path.replace("{rest:path}", "a/b"), content=b"anything") for path in PATHS}

    for path, answer in answers.items():
        error = answer.json()["error"]
        kind = "api_error" if path.startswith("/v1/messages") else "NotImplementedError"
        assert (answer.status_code, error["type"]) == (501, kind), path
        assert error["message"].endswith(".") and "weft" in error["message"], path


def test_each_of_these_paths_is_there_once():
    assert len(PATHS) == len(set(PATHS))


@pytest.fixture
def notices(caplog):
    with caplog.at_level(logging.WARNING, "weft.server.unknown_fields"):
        yield caplog


def test_an_unknown_field_is_told_once_with_the_nearest_known_one(start_server, notices):
    url = start_server(FakeEngine())
    for _ in range(2):
        answer = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "temprature": 1, "zzz": 2})

    assert answer.status_code == 200
    assert answer.headers["x-weft-ignored-fields"] == "temprature, zzz"
    assert notices.messages == [
        "/v1/completions: the field 'temprature' is unknown and ignored. Did you mean temperature?",
        "/v1/completions: the field 'zzz' is unknown and ignored. "]


def test_a_field_in_an_object_is_unknown_too(start_server, notices):
    body = {"prompt": "a", "stream": True, "stream_options": {"includ_usage": True}}
    answer = httpx.post(start_server(FakeEngine()) + "/v1/completions", json=body)
    refused = httpx.post(start_server(FakeEngine(), strict_fields=True) + "/v1/completions", json=body)

    assert answer.headers["x-weft-ignored-fields"] == "stream_options.includ_usage"
    assert notices.messages[0].endswith("Did you mean stream_options.include_usage?")
    assert refused.json()["error"]["param"] == "stream_options.includ_usage"


def test_unknown_fields_are_remembered_up_to_a_limit(start_server, notices):
    url = start_server(FakeEngine())
    for first in (0, 800):
        fields = {f"x{i}": 1 for i in range(first, first + 800)}
        httpx.post(f"{url}/tokenize", json={"prompt": "a", "y" * 10**6: 1} | fields)

    assert len(notices.messages) == 1000
    assert max(map(len, notices.messages)) < 200


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/tokenize"])
def test_a_strict_server_refuses_an_unknown_field_with_the_nearest_known_one(start_server, path):
    url = start_server(FakeEngine(), strict_fields=True)
    body = {"prompt": "a"} if path != "/v1/chat/completions" else {"messages": [{"role": "user", "content": "a"}]}

    refused = httpx.post(url + path, json=body | {"add_special_token": True})
    taken = httpx.post(url + path, json=body | {"add_special_tokens": True})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "add_special_token")
    assert refused.json()["error"]["message"] == (
        f"'add_special_token' is no field of {path}. Did you mean add_special_tokens?")
    assert taken.status_code == 200
