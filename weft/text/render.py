"""`render_chat`: a chat template's text for a chat, in Jinja's sandbox.

Names, filters and the handling of messages are those of transformers' `apply_chat_template`, which templates are
written for: keys without a value are dropped, reasoning is found under each of its names, and a final message can be
left open. Knows no tokenizer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

from weft.text.template import sandbox
from weft.text.template_cache import TemplateCache

# The names under which a message may hold its reasoning; the first one is that which templates read.
_REASONING = ("reasoning_content", "thinking", "reasoning")
_OPEN_END = "OPEN_END_OF_THE_FINAL_MESSAGE "      # marks where a final message ends that is to be continued


def render_chat(chat_template: str, messages: Sequence[Mapping[str, Any]], *,
                tools: Sequence[Mapping[str, Any]] | None = None, documents: Sequence[Mapping[str, Any]] | None = None,
                add_generation_prompt: bool = False, continue_final_message: bool = False, **options: Any) -> str:
    """The prompt of a chat. options: further variables of the template.

    continue_final_message: end the prompt with the text of the last message. ValueError when that is not possible;
    whatever the template raises.
    """
    if not messages:
        raise ValueError("there are no messages")
    chat = [_with_reasoning({key: _plain(value) for key, value in message.items() if value is not None})
            for message in messages]
    text = _open_last(chat) if continue_final_message else ""
    rendered = TEMPLATES.get(chat_template).render(
        messages=chat, tools=_plain(tools), documents=_plain(documents), add_generation_prompt=add_generation_prompt,
        **_plain(options))
    return _cut_at_mark(rendered, text) if continue_final_message else rendered


def _open_last(chat: list[dict[str, Any]]) -> str:
    """Put the mark behind the last message's text, and return that text."""
    content = chat[-1].get("content")
    if isinstance(content, str):
        chat[-1]["content"] = content + _OPEN_END
        return content
    for part in reversed(content) if isinstance(content, list | tuple) else ():
        if isinstance(part, dict) and "text" in part:
            text = part["text"]
            part["text"] = text + _OPEN_END
            return text
    raise ValueError("the last message has no text that could be continued")


def _cut_at_mark(rendered: str, text: str) -> str:
    """The rendered chat up to the mark. A template that trims messages took the space behind the mark, too."""
    place = rendered.rfind(_OPEN_END.strip())
    if place < 0 or text.strip() not in rendered:
        raise ValueError("the chat template leaves out the final message, or changes it, so it cannot be continued")
    is_kept = rendered.startswith(_OPEN_END, place)
    before = rendered[:place].replace(_OPEN_END, "")      # a template may show the message more than once
    return before if is_kept else before.rstrip()


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its reasoning under the names that templates read."""
    found = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    return message if found is None else {"thinking": found, **message, "reasoning_content": found}


def _plain(value: Any) -> Any:
    """A copy of plain JSON types: templates come from strangers, so they get no methods of other objects."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):                # a subclass, such as an enum's member
            return getattr(kind, {str: "__str__", int: "__int__", float: "__float__"}[kind])(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):      # a pydantic model
        return _plain(dump())
    return f"<{type(value).__name__}>"


class _Namespace(Namespace):
    """Jinja's namespace without names that begin with an underscore, which could lead out of the sandbox."""

    def __init__(*args: Any, **values: Any) -> None:      # `self` among args, so that a template may use it as a name
        own, *given = args
        values = dict(*given, **values)
        for name in values:
            _check(name)
        Namespace.__init__(own, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check(name)
        super().__setitem__(name, value)


def _check(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a chat template may not set {name!r} in a namespace")


class _Dict:
    """What templates call as `dict`: the type itself would lead out of the sandbox."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None,
             separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    """JSON as models saw it: Jinja's own filter escapes characters of HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _compiled(text: str) -> Template:
    env = sandbox()
    env.filters["tojson"] = _to_json
    env.globals |= {"raise_exception": _raise, "strftime_now": _now, "dict": _Dict(), "namespace": _Namespace}
    return env.from_string(text)


TEMPLATES = TemplateCache(_compiled)      # of all tokenizers of the process
