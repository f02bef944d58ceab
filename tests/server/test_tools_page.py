"""docs/tools.md: its tables are the formats', its agent runs, its parser is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
from fake_engine import FakeEngine

from weft.server.options import ServerOptions
from weft.server.parser_plugins import load_parser_plugins

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
