"""A chat template rendered without transformers gives the text that transformers gives, or fails where that fails."""

import enum
from dataclasses import dataclass

import pytest
from tokenizer_kinds import KINDS

from weft.text.render import render_chat


class Role(enum.StrEnum):
    USER = "user"


@dataclass
class Part:
    type: str
    text: str


USER = {"role": "user", "content": "Hi <b> & é"}
ALL = "{% for m in messages %}{{ m | tojson }}{{ m.get('content') }};{% endfor %}"
SAME = {      # template, messages, options
    "JSON keeps characters": (ALL, [USER, {"role": "assistant", "content": None, "tool_calls": [{"a": 1}]}], {}),
    "JSON with options": ("{{ messages[0] | tojson(indent=2, sort_keys=True) }}"
                          "{{ [1] | tojson(separators=(',', ':')) }}"
                          "{{ messages[0].content | tojson(ensure_ascii=True) }}", [USER], {}),
    "a date": ("{{ strftime_now('%Y-%m') }}", [USER], {}),
    "blocks and spaces": ("  {% if true %}\n  x\n  {% endif %}\n{%- for i in range(5) %}{% if i == 2 %}{% continue %}"
                          "{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}", [USER], {}),
    "an assistant's block": ("{% generation %}{{ messages[0].content }}{% endgeneration %}!", [USER], {}),
    "a namespace": ("{% set n = namespace(a=1) %}{% for m in messages %}{% set n.a = n.a + 1 %}{% endfor %}{{ n.a }}",
                    [USER, USER], {}),
    "a namespace of self": ("{% set n = namespace(self=1) %}{{ n.self }}", [USER], {}),
    "dictionaries": ("{{ dict(a=1) | tojson }}{{ dict.fromkeys(['x'], 2) | tojson }}", [USER], {}),
    "tools and documents": ("{{ tools | tojson }}{{ documents | tojson }}{{ add_generation_prompt }}", [USER], {
        "tools": [{"type": "function"}], "documents": [{"title": "t", "text": "x"}], "add_generation_prompt": True}),
    "none of them": ("{{ tools is none }}{{ documents is none }}{{ extra is defined }}", [USER], {}),
    "a further variable": ("{{ think }}{{ bos_token }}", [USER], {"think": False, "bos_token": "<s>"}),
    "reasoning": ("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}", [
        {"role": "assistant", "content": "", "reasoning": "why"}], {}),
    "other objects": ("{{ messages | tojson }}", [
        {"role": Role.USER, "content": [Part("text", "a"), b"x"], "n": (1, 2.5, True)}], {}),
    "continued": ("{% for m in messages %}<{{ m.content }}>{% endfor %}", [
        USER, {"role": "assistant", "content": "So "}], {"continue_final_message": True}),
    "continued and trimmed": ("{% for m in messages %}<{{ m.content | trim }}>{% endfor %}", [
        USER, {"role": "assistant", "content": "So "}], {"continue_final_message": True}),
    "continued in parts": ("{% for m in messages %}<{% for p in m.content %}{{ p.text }}{% endfor %}>{% endfor %}", [
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b "}]}],
        {"continue_final_message": True}),
}
REFUSED = {
    "raised": ("{{ raise_exception('no such role') }}", [USER], {}),
    "dunder of a namespace": ("{% set n = namespace(__class__=1) %}", [USER], {}),
    "dunder set in a namespace": ("{% set n = namespace() %}{% set n._x = 1 %}", [USER], {}),
    "attributes of a type": ("{{ ''.__class__.__mro__ }}", [USER], {}),
    "attributes of a function": ("{{ dict.__call__.__globals__['x'] }}", [USER], {}),
    "a change of the messages": ("{{ messages.append(1) }}", [USER], {}),
    "a method of an enum": ("{{ messages[0].role.mro() }}", [{"role": Role.USER, "content": ""}], {}),
    "nothing to continue": ("{{ messages }}", [{"role": "assistant", "content": None}],
                            {"continue_final_message": True}),
    "a final message that is left out": ("{{ messages[0].content }}", [USER, {"role": "assistant", "content": "gone"}],
                                         {"continue_final_message": True}),
    "no syntax": ("{% if %}", [USER], {}),
}


def theirs(template, messages, options):
    hf = KINDS["byte_level"]()
    return hf.apply_chat_template(messages, chat_template=template, tokenize=False, **{"bos_token": "", **options})


@pytest.mark.parametrize(("template", "messages", "options"), SAME.values(), ids=SAME)
def test_the_text_is_that_of_transformers(template, messages, options):
    special = {"eos_token": "<|eos|>", "bos_token": ""}

    assert render_chat(template, messages, **special | options) == theirs(template, messages, options)


@pytest.mark.parametrize(("template", "messages", "options"), REFUSED.values(), ids=REFUSED)
def test_what_transformers_refuses_is_refused(template, messages, options):
    for render in (theirs, lambda *given: render_chat(given[0], given[1], **given[2])):
        with pytest.raises(Exception) as caught:
            render(template, messages, options)
        assert not isinstance(caught.value, AssertionError)


def test_messages_of_the_caller_stay_as_they_are():
    messages = [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]

    render_chat("{{ messages[0].content[0].text }}", messages, continue_final_message=True)

    assert messages == [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]


def test_a_template_that_shows_the_last_message_twice_can_be_continued():
    messages = [{"role": "assistant", "content": "So"}]

    prompt = render_chat("{{ messages[0].content }}|{{ messages[0].content }}|", messages, continue_final_message=True)

    assert prompt == "So|So"
