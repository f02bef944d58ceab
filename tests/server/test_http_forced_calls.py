"""Calls that a request demands: `tool_choice` required and named, and `strict`, on a model that knows no tools."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import httpx
import openai
import pytest
from fake_engine import FakeEngine
from http_server import running_server
from tiny_llama import make_checkpoint

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.resolve.engine_config import resolve_engine_config
from weft.server.options import ServerOptions
from weft.text.parsing.registry import REASONING_PARSERS
from weft.text.reasoning.reasoning_format import ReasoningFormat

HI = [{"role": "user", "content": "Hi"}]
TEMPLATE = "{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% endfor %}"
POINT = {"type": "function", "function": {"name": "move", "parameters": {
    "type": "object", "properties": {"x": {"$ref": "#/$defs/small"}, "far": {"type": "boolean"}},
    "required": ["x", "far"], "additionalProperties": False, "$defs": {"small": {"enum": [1, 2, 3]}}}}}
STOP = {"type": "function", "function": {"name": "stop", "parameters": {
    "type": "object", "properties": {}, "additionalProperties": False}}}
NAMED = {"type": "function", "function": {"name": "move"}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    args = EngineArgs(model=str(make_checkpoint(tmp_path_factory.mktemp("tiny"))), kv_cache_memory_bytes=2**22,
                      num_threads=1, served_model_name=("tiny",),
                      chat_template="{% if tools %}{% endif %}{{ messages[0].content }}")
    made = AsyncLLM(resolve_engine_config(args, Machine.detect()))
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def url(engine):
    with running_server(engine, ServerOptions()) as url:
        yield url


@pytest.fixture
def url_with_reasoning(engine, monkeypatch):
    """Of a server whose answers are reasoning up to the first ">"."""
    kind = ReasoningFormat(names=("angle",), models="this test", starts=("<",), ends=(">",), is_implied=True)
    monkeypatch.setitem(REASONING_PARSERS._kinds, "angle", kind)
    monkeypatch.setattr(engine, "config", replace(
        engine.config, model=replace(engine.config.model, reasoning_parser="angle")))
    with running_server(engine, ServerOptions()) as url:
        yield url


@pytest.fixture
def client(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)


def is_move(arguments: str) -> bool:
    given = json.loads(arguments)
    return given.keys() == {"x", "far"} and given["x"] in (1, 2, 3) and isinstance(given["far"], bool)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_required_call_is_one_of_the_tools_with_arguments_of_its_schema(client, seed):
    choice = client.chat.completions.create(
        model="tiny", messages=HI, tools=[POINT, STOP], tool_choice="required", parallel_tool_calls=False, seed=seed,
        max_tokens=200).choices[0]

    [call] = choice.message.tool_calls
    assert {"move": is_move, "stop": lambda text: json.loads(text) == {}}[call.function.name](call.function.arguments)
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)


def test_a_named_tool_is_called_and_the_answer_ends_with_stop(client):
    choice = client.chat.completions.create(
        model="tiny", messages=HI, tools=[STOP, POINT], tool_choice=NAMED, seed=1, max_tokens=200).choices[0]

    [call] = choice.message.tool_calls
    assert (call.function.name, is_move(call.function.arguments), choice.finish_reason) == ("move", True, "stop")


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_forced_call_is_streamed_as_whole(client, choice):
    options = {"model": "tiny", "messages": HI, "tools": [POINT], "tool_choice": choice, "seed": 4, "max_tokens": 200,
               "parallel_tool_calls": False}
    whole = client.chat.completions.create(**options).choices[0].message.tool_calls[0].function

    pieces = [call for chunk in client.chat.completions.create(**options, stream=True)
              for call in chunk.choices[0].delta.tool_calls or []]

    assert [piece.function.name for piece in pieces if piece.id] == ["move"]
    assert "".join(piece.function.arguments for piece in pieces) == whole.arguments


def test_a_form_beside_a_forced_call_is_refused(url):
    answer = httpx.post(url + "/v1/chat/completions", json={
        "messages": HI, "tools": [POINT], "tool_choice": "required", "response_format": {"type": "json_object"}})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tool_choice")


def test_a_schema_that_cannot_be_forced_names_the_tools(url):
    tool = {"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}}}

    answer = httpx.post(url + "/v1/chat/completions", json={"messages": HI, "tools": [tool], "tool_choice": "required"})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("tools")


@pytest.mark.parametrize("fields", [
    {"tools": [POINT, STOP], "tool_choice": "required", "parallel_tool_calls": False},
    {"tools": [POINT, STOP], "tool_choice": NAMED}, {"structured_outputs": {"regex": "[0-9]{3}"}}],
    ids=["required", "named", "a form"])
def test_what_is_forced_comes_behind_the_reasoning(url_with_reasoning, engine, fields):
    ends = engine.tokenizer.encode(">", add_special_tokens=False)[0]      # likely: reasoning should not take long
    body = {"messages": HI, "max_tokens": 400, "seed": 3, "logit_bias": {str(ends): 4}} | fields

    choice = httpx.post(url_with_reasoning + "/v1/chat/completions", json=body, timeout=60).json()["choices"][0]
    message = choice["message"]

    assert message["reasoning"] and ">" not in message["reasoning"]
    if "tools" not in fields:
        assert re.fullmatch("[0-9]{3}", message["content"])
        return
    [call] = message["tool_calls"]
    assert {"move": is_move, "stop": lambda text: json.loads(text) == {}}[call["function"]["name"]](
        call["function"]["arguments"])
    assert message["content"] is None


def test_strict_tools_are_forced_where_the_format_allows(start_server):
    engine = FakeEngine("Hm.", chat_template=TEMPLATE + "{# <tool_call> #}")
    strict = {"type": "function", "function": {**POINT["function"], "strict": True}}

    httpx.post(start_server(engine) + "/v1/chat/completions", json={
        "messages": HI, "tools": [strict, STOP]}).raise_for_status()

    form = engine.params.structured_outputs.structural_tag["format"]
    assert form["triggers"] == ["<tool_call>"]
    assert [tag["begin"] for tag in form["tags"]] == [
        '<tool_call>\n{"name": "move", "arguments": ', '<tool_call>\n{"name": "stop", "arguments": ']
    assert form["tags"][0]["content"]["json_schema"] == POINT["function"]["parameters"]
    assert '"strict"' not in engine.tokenizer.decode(engine.prompts[0])


def test_tools_without_strict_leave_the_answer_free(start_server):
    engine = FakeEngine("Hm.", chat_template=TEMPLATE + "{# <tool_call> #}")

    httpx.post(start_server(engine) + "/v1/chat/completions", json={
        "messages": HI, "tools": [POINT]}).raise_for_status()

    assert engine.params.structured_outputs is None
