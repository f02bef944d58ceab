"""One gate: a walk over all routes of the app. Each asks for a key, bounds its body, and checks it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import routes_of, running_server

import weft.server.playground as playground
from weft.errors import ConfigError
from weft.server.app import build_app
from weft.server.auth import read_keys
from weft.server.elsewhere import ELSEWHERE
from weft.server.model_pool.pool import ModelPool
from weft.server.options import ServerOptions
from weft.server.run import _warn_if_open, listening_socket

KEY = {"Authorization": "Bearer secret"}
LIMIT = 4096
OPTIONS = ServerOptions(api_key=("other", "secret"), dev_mode=True, max_body_bytes=LIMIT,
                        enable_tokenizer_info_endpoint=True)
INSIDE = re.compile(r"Traceback|File \"|/site-packages|weft/|\.py\b|0x[0-9a-f]{6,}|<[a-z_.]+ object")


ELSEWHERE_PATHS = {path for paths in ELSEWHERE.values() for path in paths}      # routes that weft has not: 501


def all_routes() -> list[tuple[str, str]]:
    """(method, path) of every route; a parameter of a path is `x`."""
    app = build_app(ModelPool.of(FakeEngine(), OPTIONS), OPTIONS)
    return sorted({(method, re.sub(r"{[^}]*}", "x", route.path)) for route in routes_of(app.routes)
                   for method in route.methods or () if route.path not in ELSEWHERE_PATHS or method == "POST"})


ROUTES = all_routes()
# Written out, so that a path that becomes public by mistake is seen here; the playground's page is a whole folder.
PUBLIC_PATHS = {"/", "/health", "/ping", "/version", "/load", "/metrics", "/openapi.json", "/docs", "/docs/docs.css",
                "/docs/docs.js"} | {f"/playground/{path.name}" for path in Path(playground.__path__[0]).iterdir()
                                    if path.suffix in (".css", ".js")}


@pytest.fixture(scope="module")
def client():
    with running_server(FakeEngine(), OPTIONS) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def test_the_walk_sees_the_routes():
    assert {("POST", "/v1/completions"), ("POST", "/v1/chat/completions"), ("POST", "/tokenize"), ("GET", "/health"),
            ("POST", "/collective_rpc"), ("POST", "/v1/embeddings")} <= {*ROUTES}


def test_without_a_key_every_route_is_closed_but_the_public_ones(client):
    opened = {path for method, path in ROUTES if client.request(method, path).status_code != 401}

    assert opened == PUBLIC_PATHS


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "//health", "/health/", "/playgrounds/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_that_is_no_route_is_closed_too(client, method, path):
    assert client.request(method, str(client.base_url).rstrip("/") + path).status_code == 401


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer wrong"}, {"Authorization": "secret"},
                                     {"Authorization": "Basic secret"}, {"X-API-Key": ""}, {"Cookie": "secret"},
                                     {"X-API-Key": "wrong"}])
def test_a_wrong_key_is_no_key(client, headers):
    assert client.get("/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize("headers", [KEY, {"Authorization": "bearer other"}, {"X-API-Key": "secret"},
                                     {"Authorization": "Basic eA==", "X-API-Key": "secret"}])
def test_each_key_opens_in_both_headers(client, headers):
    assert client.get("/v1/models", headers=headers).status_code == 200


WITHOUT_BODY = {"/pause", "/resume", "/sleep", "/wake_up", "/reset_prefix_cache", "/reset_mm_cache",
                "/reset_encoder_cache", "/v1/responses/x/cancel"}
POSTS = [path for method, path in ROUTES
         if method == "POST" and "/x" not in path and path not in PUBLIC_PATHS | WITHOUT_BODY | ELSEWHERE_PATHS]


@pytest.mark.parametrize("path", POSTS)
def test_every_body_is_bounded_read_strictly_and_checked(client, path):
    json_type = {"Content-Type": "application/json"}
    malformed = client.post(path, headers=KEY | json_type, content=b"{\"model\": ")
    oversized = client.post(path, headers=KEY | json_type, content=b" " * (LIMIT + 1))
    no_object = client.post(path, headers=KEY, json=[1])
    of_wrong_type = client.post(path, headers=KEY, json={name: {"a": [0]} for name in (
        "model", "prompt", "messages", "tokens", "input", "method", "request_ids", "max_tokens")})
    of_no_type = client.post(path, headers=KEY, content=b"{}")

    assert oversized.status_code == 413
    for answer in (malformed, no_object, of_wrong_type, of_no_type):
        assert answer.status_code in (400, 501), answer.text      # 501: a field that weft has not
        assert not INSIDE.search(answer.text), answer.text


def test_a_server_without_keys_asks_for_none(start_server):
    assert httpx.get(start_server(FakeEngine()) + "/v1/models").status_code == 200


def test_keys_come_from_a_file_too(start_server, tmp_path):
    file = tmp_path / "keys"
    file.write_text("# of the team\nfirst\n\n  second  team a \n")
    options = {"api_key": ("given",), "api_key_file": str(file)}
    url = start_server(FakeEngine(), **options)

    statuses = [httpx.get(url + "/v1/models", headers={"X-API-Key": key}).status_code
                for key in ("given", "first", "second", "# of the team", "third", "team a", "second  team a")]

    assert [(key.key, key.name) for key in read_keys(ServerOptions(**options))] == [
        ("given", "key1"), ("first", "key2"), ("second", "team a")]
    assert statuses == [200, 200, 200, 401, 401, 401, 401]


def test_requests_with_one_valid_key_take_turns_together_and_else_those_of_one_address(start_server):
    def clients(*keys: str, **options) -> list[str | None]:
        engine = FakeEngine()
        url = start_server(engine, **options)
        for key in keys:
            httpx.post(url + "/v1/completions", json={"prompt": "a"}, headers={"X-API-Key": key})
        return engine.clients

    first, second, again = clients("one", "two", "one", api_key=("one", "two"))

    assert first == again != second and "one" not in str(first)
    assert clients("made", "up") == ["127.0.0.1", "127.0.0.1"]      # a server without keys trusts no key


@pytest.mark.parametrize("text", [None, b"", b"# no key\n", b"schl\xc3\xbcssel"])
def test_a_file_without_a_usable_key_never_leaves_the_server_open(tmp_path, text):
    file = tmp_path / "keys"
    if text is not None:
        file.write_bytes(text)

    with pytest.raises(ConfigError, match="api_key_file"):
        read_keys(ServerOptions(api_key_file=str(file)))


@pytest.mark.parametrize("host, keys, warns", [
    ("0.0.0.0", (), True), ("0.0.0.0", ("a",), False), ("127.0.0.1", (), False), ("localhost", (), False)])
def test_a_server_that_listens_beyond_this_machine_without_a_key_warns(caplog, host, keys, warns):
    options = ServerOptions(host=host, port=0, api_key=keys)
    with listening_socket(options) as sock, caplog.at_level(logging.WARNING):
        _warn_if_open(options, sock)

    assert ("ANYONE who reaches" in caplog.text) is warns
