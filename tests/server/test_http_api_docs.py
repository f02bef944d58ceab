"""The API's documentation names every route of the app and every field, and its page loads nothing from elsewhere."""

from __future__ import annotations

import httpx
import pytest
from fake_engine import FakeEngine
from http_server import routes_of, running_server

from weft.server.app import build_app
from weft.server.body_fields import fields_of
from weft.server.elsewhere import ELSEWHERE
from weft.server.model_pool.pool import ModelPool
from weft.server.openai.schemas import SAMPLING, ChatBody
from weft.server.options import ServerOptions
from weft.server.routes import ROUTES

ALL = ServerOptions(dev_mode=True, enable_tokenizer_info_endpoint=True)


@pytest.fixture(scope="module")
def url():
    with running_server(FakeEngine(), ALL) as url:
        yield url


def test_the_table_has_the_routes_that_the_app_has():
    others = {path for paths in ELSEWHERE.values() for path in paths}
    app = build_app(ModelPool.of(FakeEngine(), ALL), ALL)
    own = {(method, route.path.replace(":path", "")) for route in routes_of(app.routes)
           for method in route.methods or ()
           if route.path not in others and not route.path.startswith(("/playground/", "/docs/")) and route.path != "/"}
    spare = {("HEAD", path) for _, path in own} | {("POST", "/ping")}

    assert own - spare == {(route.method, route.path) for route in ROUTES}


def test_the_document_has_every_field_of_a_body_with_its_state(url):
    document = httpx.get(url + "/openapi.json").json()

    schema = document["components"]["schemas"]["ChatBody"]
    assert set(schema["properties"]) == {field.name for field in fields_of(ChatBody)}
    assert set(schema["properties"]) > SAMPLING | set(ChatBody.model_fields)
    assert schema["required"] == ["messages"] and schema["additionalProperties"] is True
    assert schema["properties"]["store"]["deprecated"] and "Ignored." in schema["properties"]["user"]["description"]
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ChatBody"}


def test_every_reference_in_the_document_leads_somewhere(url):
    document = httpx.get(url + "/openapi.json").json()

    def references(value):
        if isinstance(value, dict):
            yield from [value["$ref"]] if "$ref" in value else []
            value = list(value.values())
        for one in value if isinstance(value, list) else ():
            yield from references(one)

    found = set(references(document))
    assert found and {name.removeprefix("#/components/schemas/") for name in found} <= set(
        document["components"]["schemas"])


def test_the_document_shows_what_the_servers_options_serve(start_server):
    url = start_server(FakeEngine(), strict_fields=True, api_key=("k",))

    document = httpx.get(url + "/openapi.json").json()

    assert "/sleep" not in document["paths"] and "/tokenizer_info" not in document["paths"]
    assert document["components"]["schemas"]["ChatBody"]["additionalProperties"] is False
    assert document["security"] == [{"bearer": []}, {"api_key": []}]


def test_the_page_loads_its_own_files_only(url):
    page = httpx.get(url + "/docs")

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("docs/docs.js", "docs/docs.css", "openapi.json"):
        assert name in page.text and httpx.get(f"{url}/{name}").status_code == 200
    assert "http" not in page.text.replace("https://", "http://").replace("http-equiv", "")


def test_both_can_be_left_out(start_server):
    url = start_server(FakeEngine(), disable_fastapi_docs=True)

    assert {httpx.get(url + path).status_code for path in ("/docs", "/openapi.json", "/docs/docs.js")} == {404}
