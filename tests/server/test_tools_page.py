"""docs/tools.md: its tables are the formats', its agent runs, its parser is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import openai
from fake_engine import FakeEngine
from toy_engine import save_tokenizer

from weft.config.engine_config import TokenizerConfig
from weft.server.options import ServerOptions
from weft.server.parser_plugins import load_parser_plugins
from weft.text.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
TEMPLATE = "{{ tools | tojson }}<tool_call>{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def block_with(text: str) -> str:
    page = (ROOT / "docs/tools.md").read_text()
    [found] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if text in block]
    return found


def test_the_tables_are_current():
    command = [sys.executable, ROOT / "tools" / "make_tools_docs.py", "--check"]

    checked = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_agent_runs_the_tool_and_prints_the_answer(start_server, capsys):
    call = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
    engine = FakeEngine([call, "It is 3."], chat_template=TEMPLATE)

    exec(block_with("OpenAI").replace("http://127.0.0.1:8000", start_server(engine)), {"__name__": "example"})

    assert capsys.readouterr().out == "It is 3.\n"
    assert "tool: 3\n" in engine.tokenizer.decode(engine.prompts[1])


def test_the_parser_of_the_page_finds_a_call(start_server, tmp_path):
    file = tmp_path / "shouted.py"
    file.write_text(block_with("class Shouted"))
    options = {"tool_parser_plugin": str(file), "tool_call_parser": "shouted"}
    load_parser_plugins(ServerOptions(**options))
    engine = FakeEngine('So: ADD! {"a": 1}', chat_template=TEMPLATE)

    choice = httpx.post(start_server(engine, **options) + "/v1/chat/completions", json={
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": {"name": "add"}}]}).json()["choices"][0]

    assert (choice["message"]["content"], choice["finish_reason"]) == ("So: ", "tool_calls")
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}


def test_a_parser_written_for_vllm_is_served(start_server, tmp_path):
    file = tmp_path / "arrow.py"
    file.write_text("""
from vllm.entrypoints.openai.protocol import DeltaFunctionCall, DeltaMessage, DeltaToolCall
from vllm.tool_parsers import ToolParser, ToolParserManager

@ToolParserManager.register_module("arrow")
class ArrowToolParser(ToolParser):
    def extract_tool_calls_streaming(self, previous_text, current_text, delta_text, previous_token_ids,
                                     current_token_ids, delta_token_ids, request):
        assert len(current_token_ids) == len(current_text) and request.tools[0].function.name == "add"
        if not current_text.endswith("}"):
            return None
        name, arguments = current_text.removeprefix("=> ").split(" ", 1)
        function = DeltaFunctionCall(name=name, arguments=arguments)
        return DeltaMessage(tool_calls=[DeltaToolCall(index=0, id="call_7", type="function", function=function)])
""")
    options = {"tool_parser_plugin": str(file), "tool_call_parser": "arrow"}
    load_parser_plugins(ServerOptions(**options))
    tokenizer = load_tokenizer(TokenizerConfig(path=str(save_tokenizer(tmp_path)), chat_template=TEMPLATE))
    url = start_server(FakeEngine('=> add {"a": 1}', tokenizer=tokenizer), **options)
    client = openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)

    chunks = list(client.chat.completions.create(
        model="toy", messages=[{"role": "user", "content": "Hi"}], stream=True,
        tools=[{"type": "function", "function": {"name": "add"}}]))

    [start, arguments] = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert (start.id, start.function.name, arguments.function.arguments) == ("call_7", "add", '{"a": 1}')
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
