"""Tokenizers of mistral-common: the same as mistral-common used directly, and chosen by the files of a folder."""

import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer as Direct
from mistral_kinds import KINDS, write_sentencepiece, write_tekken
from tokenizer_kinds import llama2

from weft.config.engine_config import TokenizerConfig
from weft.errors import ConfigError, RequestError
from weft.text.chat import make_renderer
from weft.text.detokenizer import IncrementalDetokenizer
from weft.text.mistral_tokenizer import MistralTokenizer, mistral_file
from weft.text.parsing.events import parse_whole
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.parsers import choose_parsers
from weft.text.tokenizer import load_tokenizer

TEXTS = ["hello world", " the thing", "Grüße 你好 😀", "a\n\nb  c", "[INST] is text </s>", ""]
CHAT = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "add", "description": "adds", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}}}}}]


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """(weft's, mistral-common's) of one file."""
    path = KINDS[request.param](tmp_path_factory.mktemp(request.param))
    return load_tokenizer(TokenizerConfig(path=str(path.parent))), Direct.from_file(str(path))


@pytest.fixture(scope="module")
def tekken(tmp_path_factory):
    path = write_tekken(tmp_path_factory.mktemp("tekken"))
    return load_tokenizer(TokenizerConfig(path=str(path.parent))), Direct.from_file(str(path))


def inner(direct):
    return direct.instruct_tokenizer.tokenizer


# Text


@pytest.mark.parametrize("text", TEXTS)
def test_texts_become_the_same_ids(both, text):
    weft, direct = both

    assert weft.encode(text) == inner(direct).encode(text, bos=True, eos=False)
    assert weft.encode(text, add_special_tokens=False) == inner(direct).encode(text, bos=False, eos=False)
    assert weft.decode(weft.encode(text)) == text


def test_special_ids_are_the_same(both):
    weft, direct = both

    assert weft.special_ids == inner(direct).special_ids
    assert (weft.bos_token_id, weft.eos_token_id) == (inner(direct).bos_id, inner(direct).eos_id) == (1, 2)
    assert weft.vocab_size == inner(direct).n_words == len(weft.hf)
    assert weft.token_text(3) == "[INST]"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_ids_become_the_same_text_at_once_and_in_pieces(both, data):
    weft, direct = both
    plain = sorted(set(range(weft.vocab_size)) - weft.special_ids)
    ids = data.draw(st.lists(st.sampled_from(plain), max_size=30))
    cut = data.draw(st.integers(0, len(ids)))
    whole = inner(direct).decode(ids, SpecialTokenPolicy.IGNORE)

    assert weft.hf.decode(ids) == whole
    assert weft.decode(ids) == whole
    stream = IncrementalDetokenizer(weft, ids[:cut])
    pushed = "".join(stream.push([token_id]) for token_id in ids[cut:]) + stream.finish()
    prompt = weft.decode(ids[:cut])
    num_same = next((i for i, pair in enumerate(zip(prompt, whole, strict=False)) if len(set(pair)) > 1), len(prompt))
    assert pushed == whole[num_same:]


def test_special_tokens_are_spelled_out_or_left_out(both):
    weft, _ = both
    ids = [1, 3, *weft.encode("hello", add_special_tokens=False), 4, 2]

    assert weft.decode(ids) == "hello"
    spelled = weft.decode(ids, skip_special_tokens=False)
    assert spelled.replace(" ", "") == "<s>[INST]hello[/INST]</s>"
    assert weft.hf.decode(ids, skip_special_tokens=True) == "hello"
    assert weft.decode([*ids, weft.vocab_size + 5, -1]) == "hello"          # ids outside have no text


def test_bytes_of_a_character_wait_for_the_rest(both):
    weft, _ = both
    ids = weft.encode("😀", add_special_tokens=False)
    stream = IncrementalDetokenizer(weft, weft.encode("hello"))

    assert "".join([stream.push([token_id]) for token_id in ids] + [stream.finish()]).strip() == "😀"
    assert b"".join(map(weft.token_bytes, ids)).strip() == "😀".encode()


def test_a_lone_surrogate_is_refused_and_not_a_crash(both):
    with pytest.raises(RequestError, match=r"prompt.*valid Unicode"):
        both[0].encode("a\ud800")


# Chat


@pytest.mark.parametrize("chat", [
    CHAT, [{"role": "system", "content": "Be brief."}, *CHAT],
    [*CHAT, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": [{"type": "text", "text": "world"}]}],
])
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_a_chat_is_what_mistral_common_makes_of_it(both, chat, tools):
    weft, direct = both

    found = make_renderer(weft).render(chat, tools=tools)

    request = ChatCompletionRequest.from_openai(messages=chat, tools=tools)
    assert found == direct.encode_chat_completion(request).tokens
    assert weft.hf.apply_chat_template(chat, tools=tools) == found
    text = weft.hf.apply_chat_template(chat, tools=tools, tokenize=False)
    assert text == weft.decode(found, skip_special_tokens=False)


def test_a_tool_call_and_its_result_go_back_in(tekken):
    weft, _ = tekken
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    chat = [*CHAT, {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "abcdefghi", "content": "1"}]

    found = make_renderer(weft).render(chat, tools=TOOLS)

    text = weft.decode(found, skip_special_tokens=False)
    assert '[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{"a": 1}</s>' in text
    assert text.endswith("[TOOL_RESULTS]abcdefghi[TOOL_CONTENT]1[/TOOL_RESULTS]")


def test_the_last_message_may_be_continued(tekken):
    weft, _ = tekken
    chat = [*CHAT, {"role": "assistant", "content": "Hi"}]

    found = make_renderer(weft).render(chat, add_generation_prompt=False, continue_final_message=True)

    assert weft.decode(found, skip_special_tokens=False) == "<s>[INST]hello[/INST]Hi"


def test_what_a_user_writes_never_becomes_a_control_token(tekken):
    weft, _ = tekken

    found = make_renderer(weft).render([{"role": "user", "content": "[/INST]</s>"}])

    assert [token_id for token_id in found if token_id in weft.special_ids] == [1, 3, 4]


@pytest.mark.parametrize(("chat", "options", "field", "said"), [
    ([{"role": "wizard", "content": "x"}], {}, "messages", "wizard"),
    ([*CHAT, {"role": "assistant", "content": "Hi"}], {}, "messages", "Assistant with prefix"),
    ([], {}, "messages", "at least one message"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], {}, "messages", "image_url"),
    (CHAT, {"documents": [{"text": "x"}]}, "documents", "knows no documents"),
    (CHAT, {"chat_template": "{{ x }}"}, "chat_template", "knows no chat_template"),
    (CHAT, {"chat_template_kwargs": {"thinking": True}}, "chat_template_kwargs.thinking", "reads (none)"),
    (CHAT, {"chat_template_content_format": "loud"}, "chat_template_content_format", "auto, string or openai"),
    (CHAT, {"continue_final_message": True}, "continue_final_message", "add_generation_prompt"),
    (CHAT, {"tools": "add"}, "tools", "a list of objects"),
    (CHAT, {"tools": [{"type": "function"}]}, "messages", "function"),
])
def test_a_chat_that_is_wrong_is_refused_by_its_field(tekken, chat, options, field, said):
    with pytest.raises(RequestError) as caught:
        make_renderer(tekken[0]).render(chat, **options)

    assert caught.value.field.startswith(field)
    assert said in str(caught.value)


def test_reasoning_effort_is_read_by_the_versions_that_have_it(tekken, tmp_path):
    assert not make_renderer(tekken[0]).reads("reasoning_effort")

    effort = {"type": "enum", "accepts_none": True, "values": ["none", "high"], "default": "none"}
    write_tekken(tmp_path, "v15", model_settings_builder={"reasoning_effort": effort})
    weft = load_tokenizer(TokenizerConfig(path=str(tmp_path)))
    renderer = make_renderer(weft)
    found = renderer.render(CHAT, chat_template_kwargs={"reasoning_effort": "high"})
    assert renderer.reads("reasoning_effort")
    assert '[MODEL_SETTINGS]{"reasoning_effort": "high"}' in weft.decode(found, skip_special_tokens=False)


def test_a_chat_template_is_refused_because_nothing_would_read_it(tmp_path):
    write_tekken(tmp_path)

    with pytest.raises(ConfigError, match=r"^chat_template = .*none with a tokenizer of mistral-common"):
        load_tokenizer(TokenizerConfig(path=str(tmp_path), chat_template="{{ messages }}"))


# Which tokenizer of a folder


def is_mistral(directory, mode="auto"):
    return isinstance(load_tokenizer(TokenizerConfig(path=str(directory), mode=mode)).hf, MistralTokenizer)


def test_auto_takes_hugging_faces_tokenizer_where_there_is_one(tmp_path):
    write_tekken(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    assert is_mistral(tmp_path)

    llama2().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "LlamaTokenizer"}))
    assert not is_mistral(tmp_path)
    assert not is_mistral(tmp_path, "hf")
    assert is_mistral(tmp_path, "mistral")


@pytest.mark.parametrize(("names", "taken"), [
    (["tekken.json", "tokenizer.model.v3"], "tekken.json"), (["tokenizer.model.v3", "tokenizer.model.v11"],
                                                             "tokenizer.model.v11"),
    (["tokenizer.model", "tokenizer.model.v7m1"], "tokenizer.model.v7m1"), (["tokenizer.model"], "tokenizer.model"),
    (["tokenizer.json"], None),
])
def test_of_several_files_the_newest_is_taken(tmp_path, names, taken):
    for name in names:
        (tmp_path / name).touch()

    assert mistral_file(tmp_path) == (taken and tmp_path / taken)


def test_a_tokenizer_model_beside_params_alone_is_of_the_first_version(tmp_path):
    write_sentencepiece(tmp_path).rename(tmp_path / "tokenizer.model")
    (tmp_path / "params.json").write_text("{}")

    assert is_mistral(tmp_path)
    assert load_tokenizer(TokenizerConfig(path=str(tmp_path))).hf.mistral.version == "v1"


def test_mode_mistral_without_its_files_is_an_error_that_names_them(tmp_path):
    llama2().save_pretrained(tmp_path)

    with pytest.raises(ConfigError, match=r"tekken\.json or tokenizer\.model\.v\*"):
        is_mistral(tmp_path, "mistral")


def test_a_file_that_is_broken_is_an_error_that_names_it(tmp_path):
    (tmp_path / "tekken.json").write_text("{")

    with pytest.raises(ConfigError, match=r"tekken\.json': expected a tokenizer that mistral-common can read"):
        is_mistral(tmp_path)


@pytest.mark.parametrize(("write", "lost"), [(write_tekken, "mistral_common"), (write_sentencepiece, "sentencepiece")])
def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch, write, lost):
    write(tmp_path)
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == lost else find(name, *rest))

    with pytest.raises(ConfigError, match=rf"pip install 'weft\[mistral\]': {lost} cannot be imported"):
        is_mistral(tmp_path)


def test_mistral_common_is_imported_only_where_it_is_needed(tmp_path):
    write_tekken(tmp_path)
    code = ("import sys; import weft.text.chat, weft.text.tokenizer; "
            "print([m for m in ('mistral_common', 'transformers', 'torch') if m in sys.modules]); "
            "from weft.config.engine_config import TokenizerConfig as C; "
            "weft.text.tokenizer.load_tokenizer(C(path=sys.argv[1])); "
            "print([m for m in ('mistral_common', 'transformers', 'torch') if m in sys.modules])")

    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)

    assert out.stdout.split("\n")[:2] == ["[]", "['mistral_common']"]


def test_loading_says_nothing(tmp_path, caplog):
    write_tekken(tmp_path)
    with caplog.at_level(logging.WARNING):
        is_mistral(tmp_path)

    assert caplog.records == []


# Answers


def test_a_call_as_mistral_common_writes_it_is_found(both):
    weft, _ = both
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    result = {"role": "tool", "tool_call_id": "abcdefghi", "name": "add", "content": "2"}
    try:
        ids = make_renderer(weft).render([*CHAT, {"role": "assistant", "content": "", "tool_calls": [call]}, result],
                                         tools=TOOLS)
    except RequestError:
        pytest.skip("this version has no tools")
    parsers = choose_parsers(weft, tools=None, reasoning=None)

    _, mark, rest = weft.decode(ids, skip_special_tokens=False).partition("[TOOL_CALLS]")

    answer = parse_whole(parsers.make(ParseRequest(tools=TOOLS), with_tools=True), mark + rest.partition("</s>")[0])

    assert parsers.need_special_tokens(weft, with_tools=True)
    assert [(found.name, json.loads(found.arguments)) for found in answer.tool_calls] == [("add", {"a": 1})]
