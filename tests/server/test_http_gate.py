"""Every route passes the same gate: key, size of the body, JSON, schema, model. The routes are those of the table."""

from __future__ import annotations

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import ONE_BY_ONE, running_server

from weft.server.auth import PUBLIC
from weft.server.options import ServerOptions
from weft.server.routes import ROUTES

KEY = {"Authorization": "Bearer k"}
WITH_BODY = [pytest.param(route, id=route.path) for route in ROUTES if route.body is not None]


@pytest.fixture(scope="module")
def client():
    options = ServerOptions(api_key=("k",), dev_mode=True, enable_tokenizer_info_endpoint=True, max_body_bytes=2000,
                            strict_fields=True)
    with running_server(FakeEngine(), options) as url, httpx.Client(base_url=url, limits=ONE_BY_ONE) as client:
        yield client


def filled(path: str) -> str:
    return path.replace("{response_id}", "resp_x").replace("{name}", "toy")


def valid(route) -> dict:
    """A small body that the route takes."""
    one = [{"role": "user", "content": "a"}]
    fields = {"prompt": "a", "tokens": [1], "input": "a", "max_tokens": 1, "request_ids": [], "method": "a",
              "messages": [one] if route.path.endswith("/batch") else one}
    known = {"prompt"} if route.path == "/tokenize" else set(route.body.model_fields)
    return {name: value for name, value in fields.items() if name in known}


def message(answer: httpx.Response) -> str:
    return answer.json()["error"]["message"]


def test_without_a_key_only_public_routes_answer(client):
    for route in ROUTES:
        answer = client.request(route.method, filled(route.path))
        assert (answer.status_code == 401) is (route.path not in PUBLIC), route.path


@pytest.mark.parametrize("route", WITH_BODY)
def test_a_body_over_the_limit_is_refused(client, route):
    answer = client.post(route.path, json={"x": "y" * 3000}, headers=KEY)

    assert answer.status_code == 413 and "2000 bytes" in message(answer)


@pytest.mark.parametrize("route", WITH_BODY)
@pytest.mark.parametrize("content, kind, said", [
    (b"{", "application/json", "not JSON"), (b"[1]", "application/json", "a list"),
    (b"{}", "text/plain", "expected application/json")])
def test_a_body_that_is_no_json_object_is_refused(client, route, content, kind, said):
    answer = client.post(route.path, content=content, headers=KEY | {"Content-Type": kind})

    assert answer.status_code == 400 and said in message(answer)


@pytest.mark.parametrize("route", WITH_BODY)
def test_every_body_reaches_its_schema(client, route):
    """Required fields are asked for, fields of a wrong type and unknown ones are named."""
    required = [name for name, field in route.body.model_fields.items() if field.is_required()]
    missing = client.post(route.path, json={}, headers=KEY)
    wrong = client.post(route.path, json={name: {"a": 1} for name in required or ["model"]}, headers=KEY)
    unknown = client.post(route.path, json=valid(route) | {"zzz": 1}, headers=KEY)

    assert missing.status_code == 400
    assert not required or f"{required[0]} is missing" in message(missing)
    assert wrong.status_code == 400 and " = " in message(wrong)
    assert unknown.status_code == 400 and "is no field of" in message(unknown)


@pytest.mark.parametrize("route", [p for p in WITH_BODY if "model" in p.values[0].body.model_fields])
def test_every_body_with_a_model_names_the_served_one(client, route):
    answer = client.post(route.path, json=valid(route) | {"model": "gpt-5"}, headers=KEY)

    assert answer.status_code == 404 and "gpt-5" in message(answer)
