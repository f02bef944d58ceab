"""`weft run`, and what a conversation in the terminal takes: commands, settings, pasted lines."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from tiny_llama import make_checkpoint

from weft.cli.conversation import Conversation
from weft.cli.endpoint import ServerEndpoint, Thought, Usage
from weft.cli.main import main
from weft.cli.talk import show


class Answering:
    """An endpoint that keeps what it was asked."""

    name, has_chat = "answering", True

    def __init__(self):
        self.asked, self.usage = [], Usage()

    def chat(self, messages, settings):
        self.asked.append(([message["content"] for message in messages], dict(settings)))
        return iter(["fine"])

    def complete(self, prompt, settings):
        self.asked.append((prompt, dict(settings)))
        return iter(["fine"])

    def close(self):
        pass


@pytest.fixture
def talk(monkeypatch):
    """Types lines into a conversation; returns what its endpoint was asked: [(contents, settings)]."""
    def talk(*lines, **fields):
        waiting = iter(lines)

        def read(prompt=""):
            line = next(waiting, None)
            if line is None:
                raise EOFError
            return line

        monkeypatch.setattr("builtins.input", read)
        endpoint = Answering()
        Conversation(endpoint, {"max_tokens": 9}, **fields).run()
        return endpoint.asked

    return talk


def test_a_set_option_goes_with_the_next_messages_until_it_is_unset(talk):
    asked = talk("/set temperature 0.2", '/set stop ["a", "b"]', "one", "/set temperature", "/set top-k 5", "two")

    assert [settings for _, settings in asked] == [
        {"max_tokens": 9, "temperature": 0.2, "stop": ["a", "b"]}, {"max_tokens": 9, "stop": ["a", "b"], "top_k": 5}]


@pytest.mark.parametrize(("line", "told"), [
    ("/set temperature hot", "temperature = 'hot': expected a number from 0 to 2"),
    ("/set temprature 1", "expected one of max_tokens, temperature"),
    ("/clera", "/clera': expected /help, /clear, /system, /set, /exit. Did you mean /clear?"),
])
def test_what_a_command_cannot_do_is_told_and_changes_nothing(talk, capsys, line, told):
    asked = talk(line, "one")

    assert told in capsys.readouterr().err
    assert asked == [(["one"], {"max_tokens": 9})]


def test_the_system_text_is_changed_and_begins_the_conversation_anew(talk):
    asked = talk("one", "/system be brief", "two", "/clear", "three", "/system", "four", system="sys")

    assert [contents for contents, _ in asked] == [["sys", "one"], ["be brief", "two"], ["be brief", "three"], ["four"]]


def test_exit_ends_and_two_slashes_begin_a_message_with_one(talk, capsys):
    assert talk("//etc is a folder", "/set", "/help", "/exit", "never") == [(["/etc is a folder"], {"max_tokens": 9})]
    assert "max_tokens = 9" in (out := capsys.readouterr().out) and "forgets what was said" in out


def test_lines_between_triple_quotes_are_one_message(talk):
    assert talk('"""one', "two", 'three"""', '"""four"""') == [
        (["one\ntwo\nthree"], {"max_tokens": 9}), (["one\ntwo\nthree", "fine", "four"], {"max_tokens": 9})]


def test_pasted_lines_are_one_message():
    read = "from weft.cli.typed import edit_lines, read_message; edit_lines(); print('read', [read_message('> ')])"
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", read], stdin=theirs, stdout=theirs, stderr=theirs,
                          env=os.environ | {"TERM": "xterm"}) as process:
        os.close(theirs)
        shown = b""
        while b"> " not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, b"\x1b[200~one\ntwo\x1b[201~\r")
        while b"read [" not in shown or b"]" not in shown.partition(b"read [")[2]:
            shown += os.read(ours, 1024)
        process.wait(30)
    os.close(ours)

    assert rb"read ['one\ntwo']" in shown


@pytest.mark.parametrize(("is_terminal", "shown"), [
    (True, "\033[2mhm\033[0m\033[2m, so\033[0m\nfine\n"), (False, "fine\n")])
def test_reasoning_is_shown_faint_and_is_no_part_of_the_answer(monkeypatch, capsys, is_terminal, shown):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)

    assert show(iter([Thought("hm"), "", Thought(", so"), "", Thought(""), "fi", "ne"])) == "fine"
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:9/", "http://127.0.0.1:9/v1/"])
def test_a_servers_address_may_leave_out_v1(url):
    with pytest.raises(ConnectionError, match=r"^http://127\.0\.0\.1:9/v1: "):
        ServerEndpoint(url)


def test_an_engine_option_without_a_model_is_refused(weft):
    ran = weft("chat", "--dtype", "float32", "-q", "hello")

    assert ran.status == 1 and "dtype = 'float32': expected no engine option without --model" in ran.err


def test_run_answers_one_message_and_logs_nothing(weft):
    ran = weft("run", "weft-embedded", "What is 17 + 25?", "--temperature", 0, "--max-tokens", 30)

    assert ran.status == 0 and "17 + 25" in ran.out
    assert ran.err == ""


def test_run_continues_the_text_where_the_model_has_no_chat_template(weft, tmp_path):
    model = make_checkpoint(tmp_path / "plain")
    settings = model / "tokenizer_config.json"
    settings.write_text(json.dumps({key: value for key, value in json.loads(settings.read_text()).items()
                                    if key != "chat_template"}))

    ran = weft("run", model, "Once", "--max-tokens", 3, "--stats")

    assert ran.status == 0
    assert re.search(r"\[[4-6] prompt tokens, 3 tokens in", ran.err), "the text alone, without a template's words"


def test_a_prompt_is_an_argument_of_complete(weft, checkpoint):
    once, again, other = (weft("complete", text, "--model", checkpoint, "--max-tokens", 9, "--seed", 3).out
                          for text in ("Once", "Once", "A dog"))

    assert once == again and once.strip() and once != other


def test_a_wrong_sampling_value_names_the_option(weft, checkpoint):
    ran = weft("run", checkpoint, "Once", "--top-p", 7)

    assert ran.status == 1 and "top_p = 7.0" in ran.err


def test_help_of_run_shows_sampling_and_engine_options(capsys):
    assert main(["run", "--help"]) == 0
    assert "--temperature" in (out := capsys.readouterr().out) and "--max-model-len" in out
