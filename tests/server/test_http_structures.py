"""Structured output over HTTP: the fields of OpenAI and vLLM, old and new, and what is wrong in them."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pydantic
import pytest
from dying_engine import CORE as DYING_CORE
from http_server import running_server
from isa_levels import native_levels
from tiny_llama import make_checkpoint

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.process.spare import Spare
from weft.resolve.engine_config import resolve_engine_config
from weft.server.options import ServerOptions

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
POINT = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["x"],
         "additionalProperties": False}
REGEX = "[a-f]{3}-[0-9]{30}"
IS_POINT = re.compile(r'\{\s*"x"\s*:\s*[0-9]\s*\}')


class Point(pydantic.BaseModel):
    """The class form of POINT, for OpenAI's client."""

    model_config = pydantic.ConfigDict(extra="forbid")
    x: int = pydantic.Field(ge=0, le=9)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("tiny"))


def make_engine(directory, **core):
    args = EngineArgs(model=str(directory), kv_cache_memory_bytes=2**22, num_threads=1, served_model_name=("tiny",))
    return AsyncLLM(resolve_engine_config(args, Machine.detect()), **core)


@pytest.fixture(scope="module")
def url(directory):
    engine = make_engine(directory)
    with running_server(engine, ServerOptions()) as url:
        yield url
    engine.shutdown()


def post(url, path, **fields):
    prompt = {"messages": HI} if path == CHAT else {"prompt": "Hi"}
    return httpx.post(url + path, json=prompt | {"max_tokens": 100, "seed": 1} | fields, timeout=60)


def text_of(answer):
    assert answer.status_code == 200, answer.text
    assert "x-weft-ignored-fields" not in answer.headers
    [choice] = answer.json()["choices"]
    assert choice["finish_reason"] == "stop"
    return choice["message"]["content"] if "message" in choice else choice["text"]


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
@pytest.mark.parametrize(("fields", "pattern"), [
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": POINT, "strict": True}}},
     IS_POINT),
    ({"response_format": {"type": "structural_tag", "format": {"type": "const_string", "value": "abc"}}}, "abc"),
    ({"structured_outputs": {"json": POINT}}, IS_POINT), ({"structured_outputs": {"regex": "[xy]{4}"}}, "[xy]{4}"),
    ({"structured_outputs": {"json": POINT, "disable_any_whitespace": True}}, r'\{"x":[0-9]\}'),
    ({"structured_outputs": {"choice": ["one", "two"]}}, "one|two"),
    ({"guided_json": POINT}, IS_POINT), ({"guided_json": json.dumps(POINT)}, IS_POINT),
    ({"guided_json": POINT, "guided_whitespace_pattern": " ", "guided_decoding_backend": "xgrammar"},
     r'\{ ?"x" ?: ?[0-9] ?\}'),
    ({"guided_regex": "a{3}"}, "aaa"), ({"guided_choice": ["one", "two"]}, "one|two"),
    ({"guided_grammar": 'root ::= "a" [0-9]'}, "a[0-9]"),
    ({"structural_tag": json.dumps({"format": {"type": "const_string", "value": "abc"}})}, "abc"),
], ids=lambda value: "+".join(value) if isinstance(value, dict) else "")
def test_a_field_that_asks_for_a_form_gets_it(url, path, fields, pattern):
    assert re.fullmatch(pattern, text_of(post(url, path, **fields)))


def test_json_object_is_any_object(url):
    answer = post(url, CHAT, response_format={"type": "json_object"}, max_tokens=40).json()["choices"][0]

    assert answer["message"]["content"].startswith("{")


def test_a_stream_is_the_whole_answer_in_pieces(url):
    fields = {"structured_outputs": {"regex": REGEX}}
    with httpx.stream("POST", url + COMPLETIONS, json={"prompt": "Hi", "max_tokens": 100, "seed": 1, "stream": True}
                      | fields) as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: {")]

    assert "".join(event["choices"][0]["text"] for event in events) == text_of(post(url, COMPLETIONS, **fields))


def test_openais_client_parses_an_answer_into_its_class(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)

    answer = client.chat.completions.parse(model="tiny", messages=HI, response_format=Point, seed=1, max_tokens=100)

    assert isinstance(answer.choices[0].message.parsed, Point)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "param", "text"), [
    ({"response_format": {"type": "json"}}, "response_format.type", "one of text, json_object"),
    ({"response_format": "json_object"}, "response_format", "an object"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "with a schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema",
     "a JSON schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"items": {"not": {}}}}}},
     "response_format.json_schema.schema", "'#/items/not'"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "strin"}}}},
     "response_format.json_schema.schema", "Invalid type: strin"),
    ({"guided_json": {"properties": {"a": {"x-guidance": {}}}}}, "guided_json", "'#/properties/a/x-guidance'"),
    ({"guided_regex": "("}, "guided_regex", "regex"), ({"guided_choice": []}, "guided_choice", "not empty"),
    ({"guided_choice": ["a"], "guided_regex": "a"}, "structured_outputs", "exactly one of"),
    ({"structured_outputs": {"regex": "(?=a)"}}, "structured_outputs.regex", "look"),
    ({"structured_outputs": {"regexp": "a"}}, "structured_outputs", "did you mean 'regex'"),
    ({"structured_outputs": {"regex": "a", "source": "x"}}, "structured_outputs", "fields"),
    ({"structured_outputs": 3}, "structured_outputs", "an object"),
    ({"structured_outputs": {"json": {"type": "string"}}, "response_format": {"type": "json_object"}},
     "structured_outputs", "exactly one of"),
    ({"structured_outputs": {"grammar": "root ::= nothing"}}, "structured_outputs.grammar", "nothing"),
])
def test_a_wrong_form_is_a_400_that_names_its_field(url, fields, param, text, stream):
    answer = post(url, COMPLETIONS, **fields, stream=stream)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "BadRequestError"), answer.text
    assert text in error["message"]
    assert error["param"] in (param, "response_format" if "exactly one of" in text else param)


def test_a_grammar_that_takes_too_long_is_a_400_and_holds_nobody_up(url):
    endless = {"type": "string", "allOf": [{"pattern": f".*a.{{{i}}}b.*"} for i in range(60)]}
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(post, url, COMPLETIONS, structured_outputs={"json": endless | {"maxLength": 1000 + i}})
                for i in range(2)]
        others = [post(url, COMPLETIONS, max_tokens=5) for _ in range(5)]
        still_compiling = not any(answer.done() for answer in slow)
        answers = [answer.result() for answer in slow]

    assert still_compiling and all(other.status_code == 200 for other in others)
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "structured_outputs.json")
        assert "more than 5 s" in answer.json()["error"]["message"]


def test_the_size_of_compiled_grammars_is_in_the_metrics(url):
    text_of(post(url, COMPLETIONS, structured_outputs={"regex": "b{3}"}))

    sizes = dict(re.findall(r"^weft:(grammar_cache_\w+){[^}]*} (\S+)$", httpx.get(url + "/metrics").text, re.MULTILINE))
    assert 0 < float(sizes["grammar_cache_bytes"]) < float(sizes["grammar_cache_limit_bytes"]) == 256 * 2**20


def test_a_client_may_leave_while_its_grammar_is_compiled(url):
    endless = {"type": "string", "allOf": [{"pattern": f".*a.{{{i}}}c.*"} for i in range(60)]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url + COMPLETIONS, json={"prompt": "a", "structured_outputs": {"json": endless}}, timeout=0.5)

    assert text_of(post(url, COMPLETIONS, structured_outputs={"regex": "a{2}"})) == "aa"


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
def test_answers_go_on_in_their_form_when_the_engine_dies_under_them(url, directory):
    bodies = [{"structured_outputs": {"regex": REGEX}, "n": 2}, {"temperature": 0, "max_tokens": 30},
              {"structured_outputs": {"json": {"type": "array", "items": POINT, "minItems": 4, "maxItems": 9}}}]
    prompts = ["Hi", "there", "you"]

    def answers(base):
        return [[choice["text"] for choice in httpx.post(base + COMPLETIONS, timeout=60, json={
            "prompt": prompts, "max_tokens": 100, "seed": 1} | body).json()["choices"]] for body in bodies]

    wanted, dying = answers(url), make_engine(directory, spare=Spare(DYING_CORE))
    with running_server(dying, ServerOptions()) as other:
        found = answers(other)
    dying.shutdown()

    assert (directory / "died").exists()
    assert found == wanted
