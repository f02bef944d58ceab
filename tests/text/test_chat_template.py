"""What a chat template says about itself: its arguments, and whether it takes strings or lists as content."""

import jinja2
import pytest

from weft.errors import ConfigError
from weft.text.template import ChatTemplate, named_templates, read_template

STRING = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] | trim }}\n{% endfor %}"

LISTS = {
    "item": "{% for m in messages %}{% for part in m['content'] %}{{ part.text }}{% endfor %}{% endfor %}",
    "attribute": "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
    "variable": "{% for m in messages %}{% set c = m.content %}{% for p in c %}{{ p.text }}{% endfor %}{% endfor %}",
    "index": "{% for i in range(messages|length) %}{% for p in messages[i].content %}{{ p }}{% endfor %}{% endfor %}",
    "slice": "{% set rest = messages[1:] %}{% for m in rest %}{% for p in m.content %}{{ p }}{% endfor %}{% endfor %}",
    "first": "{% set m = messages|first %}{% for p in m.content %}{{ p.text }}{% endfor %}",
    "last": "{% for p in messages[-1]['content'] %}{{ p.text }}{% endfor %}",
    "filter": "{% for m in messages %}{% for p in m.content | selectattr('type', 'eq', 'text') %}{{ p }}{% endfor %}"
              "{% endfor %}",
    "choice": "{% set all = [a] + messages if a else messages %}{% for m in all %}{% for p in m.content %}{{ p }}"
              "{% endfor %}{% endfor %}",
    "first part": "{% for m in messages %}{{ m.content[0].text }}{% endfor %}",
    "mapped": "{% for m in messages %}{{ m.content | map(attribute='text') | join }}{% endfor %}",
    "macro": "{% macro show(content) %}{% for p in content %}{{ p.text }}{% endfor %}{% endmacro %}"
             "{% for m in messages %}{{ show(m.content) }}{% endfor %}",
    "namespace": "{% set ns = namespace(c='') %}{% for m in messages %}{% set ns.c = m.content %}"
                 "{% for p in ns.c %}{{ p.text }}{% endfor %}{% endfor %}",
}


def test_a_template_that_writes_content_out_takes_strings():
    template = ChatTemplate(STRING)

    assert not template.takes_parts
    assert not template.tests_string


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_a_template_that_loops_over_content_takes_lists(text):
    assert ChatTemplate(text).takes_parts


@pytest.mark.parametrize("text", [
    "{% for m in messages %}{% for call in m.tool_calls %}{{ call }}{% endfor %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% for line in m.content.split('\n') %}{{ line }}{% endfor %}{% endfor %}",
    "{% for m in messages %}{{ m.content[:5] | trim }}{% endfor %}",
    "{% for tool in tools %}{% for p in tool.content %}{{ p }}{% endfor %}{% endfor %}",
], ids=["tool calls", "lines", "beginning", "tools"])
def test_loops_over_other_things_say_nothing_about_content(text):
    assert not ChatTemplate(text).takes_parts


def test_a_template_that_asks_for_strings_takes_both():
    template = ChatTemplate("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
                            "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}")

    assert template.takes_parts
    assert template.tests_string


def test_declared_are_the_names_a_template_reads_besides_what_all_are_given():
    template = ChatTemplate(
        "{{ bos_token }}{% if not date is defined %}{% set date = strftime_now('%Y') %}{% endif %}{{ date }}"
        "{% set ns = namespace(n=0) %}{% for m in messages %}{{ loop.index }}{% endfor %}{{ tools }}{{ documents }}"
        "{% if add_generation_prompt and enable_thinking | default(true) %}{{ raise_exception('no') }}{% endif %}",
        special_token_names=frozenset({"bos_token"}))

    assert template.declared == {"date", "enable_thinking"}


def test_a_template_says_which_inputs_it_reads():
    template = ChatTemplate("{% if tools %}{{ tools }}{% endif %}{{ messages }}")

    assert template.reads("tools")
    assert not template.reads("documents")


def test_the_tags_that_transformers_adds_to_jinja_are_understood():
    ChatTemplate("{% for m in messages %}{% if m.role == 'x' %}{% continue %}{% endif %}"
                 "{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}")


def test_a_mistake_is_a_syntax_error_with_its_line():
    with pytest.raises(jinja2.TemplateSyntaxError) as caught:
        ChatTemplate("{{ messages }}\n{% for m in messages %}")

    assert caught.value.lineno == 2


def test_a_template_is_read_from_a_path_or_taken_as_it_is(tmp_path):
    (tmp_path / "chat.jinja").write_text(STRING)

    assert read_template(STRING) == STRING
    assert read_template(str(tmp_path / "chat.jinja")) == STRING


def test_a_path_without_a_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"chat_template = '.*missing\.jinja': expected a Jinja template or the path"):
        read_template(str(tmp_path / "missing.jinja"))


def test_one_template_is_the_default_and_an_override_replaces_all():
    own = {"default": "a {{ messages }}", "rag": "b {{ messages }}"}

    assert named_templates("a {{ messages }}", None) == {"default": "a {{ messages }}"}
    assert named_templates(own, None) == own
    assert named_templates(own, "rag") == {"default": "b {{ messages }}"}
    assert named_templates(own, STRING) == {"default": STRING}
    assert named_templates(None, None) == {}
