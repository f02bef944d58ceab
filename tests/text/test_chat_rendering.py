"""Rendering chats: the right template, content in its form, declared arguments only, errors in place."""

import pytest

from weft.errors import ConfigError, RequestError
from weft.text.chat import ChatRenderer
from weft.text.tokenizer import Tokenizer

PLAIN = ("{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
         "{% if add_generation_prompt %}<assistant>{% endif %}")
LISTS = ("{% for m in messages %}<{{ m.role }}>{% for p in m.content %}[{{ p.type }}:{{ p.text }}]{% endfor %}"
         "{% endfor %}")
BOTH = ("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endif %}{% endfor %}")
CALLS = ("{% for m in messages %}{% if m.tool_calls is defined %}{% for c in m.tool_calls %}"
         "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v + 1 }}{% endfor %}{% endfor %}{% endif %}"
         "{{ m.content }}{% endfor %}{{ tools or '' }}")
USER = [{"role": "user", "content": "Hi"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]}]


@pytest.fixture
def renderer(make):
    """renderer(template) is a ChatRenderer with that template."""
    return lambda template: ChatRenderer(make("byte_level"), template)


def calls(arguments):
    return [{"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]}]


def test_a_chat_becomes_a_prompt_that_asks_for_an_answer(renderer):
    assert renderer(PLAIN).render(USER) == "<|bos|><user>Hi<assistant>"
    assert renderer(PLAIN).render(USER, add_generation_prompt=False) == "<|bos|><user>Hi"


def test_parts_are_joined_for_a_template_of_strings(renderer):
    assert renderer(PLAIN).render(PARTS) == "<|bos|><user>a\nb<assistant>"


def test_a_string_becomes_a_part_for_a_template_of_lists(renderer):
    assert renderer(LISTS).render(USER) == "<user>[text:Hi]"
    assert renderer(LISTS).render(PARTS) == "<user>[text:a][text:b]"


def test_a_template_of_both_gets_what_was_sent(renderer):
    assert renderer(BOTH).render(USER) == "Hi"
    assert renderer(BOTH).render(PARTS) == "[a][b]"


EACH, END = "{% for m in messages %}", "{% endfor %}"
WALK = "{% for p in m.content %}{{ p.text }};{% endfor %}"
SYSTEM = [{"role": "system", "content": "SYS"}, {"role": "user", "content": "USR"}]
MIXED = {      # template, messages, prompt
    "system printed, others walked": (
        EACH + "{% if m.role == 'system' %}[{{ m.content }}]{% else %}" + WALK + "{% endif %}" + END,
        SYSTEM, "[SYS]USR;"),
    "system joined to text, others walked": (
        "{% for m in messages %}{% if m.role == 'system' %}{{ '[' + m.content + ']' }}{% else %}" + WALK +
        "{% endif %}{% endfor %}", SYSTEM, "[SYS]USR;"),
    "system as JSON, others walked": (
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content | tojson }}{% else %}" + WALK +
        "{% endif %}{% endfor %}", SYSTEM, '"SYS"USR;'),
    "results printed, others walked": (
        EACH + "{% if m.role == 'tool' %}<{{ m.content }}>{% else %}" + WALK + "{% endif %}" + END,
        [{"role": "user", "content": "USR"}, {"role": "tool", "content": [{"type": "text", "text": "RES"}]}],
        "USR;<RES>"),
    "first part by its number": ("{% for m in messages %}{{ m.content[0].text }};{% endfor %}", USER, "Hi;"),
    "only the first part": ("{% for m in messages %}{{ m.content[0].text }};{% endfor %}", PARTS, "a\nb;"),
    "first part by a filter": ("{% for m in messages %}{{ (m.content | first).text }};{% endfor %}", USER, "Hi;"),
    "texts by a filter": (EACH + "{{ m.content | map(attribute='text') | join('+') }};" + END, PARTS, "a+b;"),
    "strings asked for in one place only": (
        "{% for m in messages %}{% if m.role == 'system' %}[{{ m.content }}]{% elif m.content is string %}"
        "{{ m.content }}{% else %}" + WALK + "{% endif %}{% endfor %}",
        [{"role": "system", "content": [{"type": "text", "text": "SYS"}]}, *PARTS], "[SYS]a;b;"),
    "a call without text": (
        EACH + "{% if m.role == 'system' %}[{{ m.content }}]{% else %}" + WALK + "{% endif %}" + END,
        [*SYSTEM, {"role": "assistant", "content": None}, {"role": "user", "content": ""}], "[SYS]USR;;"),
}


@pytest.mark.parametrize("template, messages, prompt", MIXED.values(), ids=MIXED)
def test_each_message_is_given_in_the_form_that_its_role_is_read_in(renderer, caplog, template, messages, prompt):
    assert renderer(template).render(messages) == prompt
    assert not caplog.records


def test_a_template_that_joins_arguments_to_texts_gets_them_as_text(renderer):
    """Templates of DeepSeek-R1 and V3.1 do."""
    joins = ("{% for m in messages %}{% for c in m.tool_calls %}{{ '<' + c.function.arguments + '>' }}"
             "{% endfor %}{% endfor %}")

    assert renderer(joins).render(calls('{"a":1, "b": "é"}')) == '<{"a": 1, "b": "é"}>'


def test_a_text_that_no_form_shows_is_warned_of(renderer, caplog):
    renderer("{% for m in messages if m.role == 'user' %}" + WALK + "{% endfor %}").render(SYSTEM)

    assert "leaves out text of messages of the role system" in caplog.text


def test_the_form_of_content_can_be_forced(renderer):
    assert renderer(BOTH).render(USER, chat_template_content_format="openai") == "[Hi]"
    assert renderer(BOTH).render(PARTS, chat_template_content_format="string") == "a\nb"

    with pytest.raises(RequestError, match="chat_template_content_format = 'list': expected auto, string or openai"):
        renderer(BOTH).render(USER, chat_template_content_format="list")


@pytest.mark.parametrize(("messages", "field"), [
    ([], "messages"),
    ("Hi", "messages"),
    (["Hi"], "messages[0]"),
    ([{"content": "Hi"}], "messages[0].role"),
    ([{"role": 3, "content": "Hi"}], "messages[0].role"),
    ([*USER, {"role": "user"}], "messages[1].content"),
    ([*USER, {"role": "user", "content": 5}], "messages[1].content"),
    ([{"role": "user", "content": [7]}], "messages[0].content[0]"),
    ([{"role": "user", "content": [{"type": "text", "text": None}]}], "messages[0].content[0].text"),
    ([{"role": "user", "content": ["a", {"type": "image_url", "image_url": {}}]}], "messages[0].content[1].type"),
    ([{"role": "assistant", "tool_calls": "f"}], "messages[0].tool_calls"),
    ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "messages[0].tool_calls[0]"),
    (calls('{"a": '), "messages[0].tool_calls[0].function.arguments"),
    (calls("[1]"), "messages[0].tool_calls[0].function.arguments"),
])
def test_a_wrong_message_is_refused_at_its_place(renderer, messages, field):
    with pytest.raises(RequestError) as caught:
        renderer(PLAIN).render(messages)

    assert caught.value.field == field


def test_images_are_refused_as_not_built(renderer):
    with pytest.raises(RequestError, match=r"messages\[0\]\.content\[0\]\.type = 'image_url'.*not built"):
        renderer(LISTS).render([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


def test_an_assistant_that_only_calls_tools_needs_no_content(renderer):
    assert renderer(CALLS).render(calls('{"a": 1}')) == "a=2"


@pytest.mark.parametrize("arguments", ['{"a": 1}', {"a": 1}], ids=["text", "object"])
def test_arguments_of_tool_calls_reach_the_template_as_objects(renderer, arguments):
    messages = calls(arguments)

    assert renderer(CALLS).render(messages) == "a=2"
    assert messages == calls(arguments)


def test_empty_arguments_are_an_empty_object(renderer):
    assert renderer(CALLS).render(calls("")) == ""


def test_unknown_keys_reach_the_template_and_nulls_do_not(renderer):
    text = "{% for m in messages %}{{ m.name }}{{ m.tool_calls is defined }}{{ m.refusal is defined }}{% endfor %}"

    assert renderer(text).render([{**USER[0], "name": "Ann", "tool_calls": None, "refusal": None}]) == "AnnFalseFalse"


def test_the_tool_use_template_is_taken_when_there_are_tools(make):
    tokenizer = make("byte_level")
    tokenizer.hf.chat_template = {"default": "plain {{ messages|length }}", "tool_use": "{{ tools|length }} tools"}
    renderer = ChatRenderer(Tokenizer(tokenizer.hf))

    assert renderer.render(USER) == "plain 1"
    assert renderer.render(USER, tools=[]) == "plain 1"
    assert renderer.render(USER, tools=[{"type": "function"}]) == "1 tools"
    assert renderer.render(USER, chat_template="tool_use", tools=[{"type": "function"}]) == "1 tools"


@pytest.mark.parametrize("name", ["tools", "documents"])
def test_what_the_template_would_not_show_to_the_model_is_refused(renderer, name):
    with pytest.raises(RequestError, match=f"{name} = .*the chat template does not read {name}"):
        renderer(PLAIN).render(USER, **{name: [{"title": "t"}]})
    with pytest.raises(RequestError, match=rf"{name}\[0\] = 'x'"):
        renderer(PLAIN).render(USER, **{name: ["x"]})


def test_declared_arguments_reach_the_template(renderer):
    text = "{% if enable_thinking is defined and not enable_thinking %}quick{% else %}slow{% endif %}"

    assert renderer(text).render(USER) == "slow"
    assert renderer(text).render(USER, chat_template_kwargs={"enable_thinking": False}) == "quick"


def test_undeclared_arguments_are_refused_with_the_names_that_are_known(renderer):
    with pytest.raises(RequestError, match=r"chat_template_kwargs\.thinking = True.*\(effort, enable_thinking\)"):
        renderer("{{ enable_thinking }}{{ effort }}").render(USER, chat_template_kwargs={"thinking": True})


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "tokenize", "bos_token"])
def test_arguments_cannot_replace_what_weft_passes_itself(renderer, name):
    text = PLAIN + "{{ tools }}{{ tokenize }}"

    with pytest.raises(RequestError) as caught:
        renderer(text).render(USER, chat_template_kwargs={name: "x"})

    assert caught.value.field == f"chat_template_kwargs.{name}"


def test_a_refusal_of_the_template_is_told_in_its_own_words(renderer):
    text = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"

    with pytest.raises(RequestError, match="System role not supported") as caught:
        renderer(text).render([{"role": "system", "content": "Be brief."}])

    assert caught.value.field == "messages"


def test_a_template_that_fails_ends_only_the_request(renderer):
    with pytest.raises(RequestError, match=r"It failed: \w+"):
        renderer("{{ messages[0].content + 1 }}").render(USER)


def test_a_template_runs_in_a_sandbox(renderer):
    with pytest.raises(RequestError, match="SecurityError"):
        renderer("{{ messages.append.__globals__ }}").render(USER)


def test_without_a_template_the_error_says_what_to_pass(make):
    with pytest.raises(RequestError, match=r"tokenizer has none\. Pass chat_template, start with --chat-template FILE"):
        ChatRenderer(make("byte_level")).render(USER)


def test_the_engine_may_be_started_with_the_name_of_a_template(make):
    hf = make("byte_level").hf
    hf.chat_template = {"default": "no {{ messages }}", "rag": PLAIN}
    tokenizer = Tokenizer(hf, chat_template="rag")

    assert ChatRenderer(tokenizer).render(USER) == "<|bos|><user>Hi<assistant>"
    assert ChatRenderer(tokenizer, "rag").render(USER) == "<|bos|><user>Hi<assistant>"


def test_named_templates_without_a_default_are_listed(make):
    tokenizer = make("byte_level")
    tokenizer.hf.chat_template = {"rag": PLAIN, "tool_use": PLAIN}

    with pytest.raises(RequestError, match="The tokenizer has only rag, tool_use"):
        ChatRenderer(Tokenizer(tokenizer.hf)).render(USER)


def test_a_template_of_the_request_replaces_the_others(renderer):
    assert renderer(PLAIN).render(USER, chat_template="{{ messages[0].content }}!") == "Hi!"


def test_a_request_cannot_read_files(renderer, tmp_path):
    (tmp_path / "secret").write_text("{{ messages }}")

    with pytest.raises(RequestError, match="expected the text of a Jinja template or 'default'"):
        renderer(PLAIN).render(USER, chat_template=str(tmp_path / "secret"))


def test_a_broken_template_is_told_with_its_line(renderer):
    with pytest.raises(ConfigError, match=r"chat_template.*Line 2"):
        renderer("{{ messages }}\n{% for")
    with pytest.raises(RequestError, match=r"chat_template.*Line 1"):
        renderer(PLAIN).render(USER, chat_template="{% if %}")


def test_a_template_given_as_a_path_is_read(renderer, tmp_path):
    (tmp_path / "chat.jinja").write_text(PLAIN)

    assert renderer(str(tmp_path / "chat.jinja")).render(USER) == "<|bos|><user>Hi<assistant>"


@pytest.mark.parametrize("template", [
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<end>{% endfor %}",
    "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}<end>{% endfor %}",
], ids=["string", "list"])
def test_the_last_message_can_be_continued(renderer, template):
    messages = [*USER, {"role": "assistant", "content": "Once upon"}]

    text = renderer(template).render(messages, add_generation_prompt=False, continue_final_message=True)

    assert text == "<user>Hi<end><assistant>Once upon"


def test_continuing_and_asking_for_an_answer_exclude_each_other(renderer):
    with pytest.raises(RequestError, match=r"continue_final_message = True.*add_generation_prompt"):
        renderer(PLAIN).render(USER, continue_final_message=True)


@pytest.mark.parametrize("template", [3, b"{{ messages }}", ["{{ messages }}"], {"a": 1}])
def test_a_template_that_is_no_text_is_refused(renderer, template):
    with pytest.raises(RequestError, match=r"chat_template = .*expected the text of a Jinja template"):
        renderer(PLAIN).render(USER, chat_template=template)
