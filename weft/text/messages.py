"""Checks the messages of a chat and puts them into the form that a template reads.

Knows no template and no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

from weft.errors import RequestError

_TEXT_KEYS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}   # type -> text's key


# Stands in a message's content for an image, which goes another way (`frontend/chat_media.py`). This object alone does:
# a part of a client that looks like it is none.
MEDIA_PARTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {kind: MappingProxyType({"type": kind}) for kind in ("image", "audio")})


class ContentForm(Enum):
    """The form of a message's content that a template takes."""

    STRING = "string"   # a string: the texts of several parts are joined by newlines
    PARTS = "openai"    # a list of parts: a string becomes one part
    ONE_PART = "one"    # a list of one part, which holds all texts, joined by newlines
    EITHER = "either"   # string or list, as given


_LISTS = (ContentForm.PARTS, ContentForm.ONE_PART)


def prepare_messages(messages: Sequence[Mapping[str, Any]],
                     forms: ContentForm | Sequence[ContentForm]) -> list[dict[str, Any]]:
    """Copies of the messages for a template: content in the given form, tool calls' arguments parsed, nulls left out.

    forms: one for all messages, or one for each. Unknown keys are kept. RequestError names the place, for example
    `messages[1].content[0]`.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise RequestError("messages", messages, expected="a list of at least one message")
    each = [forms] * len(messages) if isinstance(forms, ContentForm) else forms
    return [_prepare(message, each[i], f"messages[{i}]") for i, message in enumerate(messages)]


def with_text_arguments(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Prepared messages with the arguments of their tool calls as JSON text; None if there are no calls."""
    if not any(message.get("tool_calls") for message in messages):
        return None
    return [{**message, **({"tool_calls": [_with_text(call) for call in message["tool_calls"]]}
                           if message.get("tool_calls") else {})} for message in messages]


def _with_text(call: dict[str, Any]) -> dict[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _with_text(dict(call["function"]))}
    return {**call, "arguments": json.dumps(call.get("arguments"), ensure_ascii=False)}


def objects(field: str, items: Any) -> list[dict[str, Any]] | None:
    """A copy of a list of objects, or None when it is empty or None. RequestError names an entry that is no object."""
    if items is None:
        return None
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise RequestError(field, items, expected="a list of objects")
    for i, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise RequestError(f"{field}[{i}]", item, expected="an object")
    return [dict(item) for item in items] or None


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message that has been rendered; "" if it has none."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part if isinstance(part, str) else part["text"] for part in content
                     if isinstance(part, str) or part.get("type", "text") == "text")


def _prepare(message: Mapping[str, Any], form: ContentForm, field: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise RequestError(field, message, expected='an object such as {"role": "user", "content": "Hello"}')
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise RequestError(f"{field}.role", role, expected="a string such as user, assistant, system or tool")
    # Clients send null for missing keys, but templates test whether a key is defined.
    prepared = {key: value for key, value in message.items() if value is not None}
    prepared["content"] = _content(message.get("content"), role, form, f"{field}.content")
    if calls := prepared.pop("tool_calls", None):
        prepared["tool_calls"] = _tool_calls(calls, f"{field}.tool_calls")
    return prepared


def _content(content: Any, role: str, form: ContentForm, field: str) -> str | list[dict[str, str]]:
    if content is None and role == "assistant":   # the message may consist of tool calls only
        return [] if form in _LISTS else ""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if form in _LISTS else content
    if isinstance(content, Mapping) or not isinstance(content, Sequence):
        raise RequestError(field, content, expected="a string or a list of parts")
    if any(map(_is_media, content)):
        return _with_media(content, form, field)
    texts = [_part_text(part, f"{field}[{j}]") for j, part in enumerate(content)]
    if form is ContentForm.STRING:
        return "\n".join(texts)
    if form is ContentForm.ONE_PART:
        texts = ["\n".join(texts)]
    return [{"type": "text", "text": text} for text in texts]


def _is_media(part: Any) -> bool:
    return any(part is each for each in MEDIA_PARTS.values())


def _with_media(content: Sequence[Any], form: ContentForm, field: str) -> list[dict[str, str]]:
    """Content of texts and media as parts. RequestError for a template that takes strings."""
    if form is ContentForm.STRING:
        raise RequestError(field, "media", expected="text", hint="The chat template takes no parts, so it has no "
                           "place for media: use generate, with the model's placeholders in the prompt.")
    return [dict(part) if _is_media(part) else {"type": "text", "text": _part_text(part, f"{field}[{j}]")}
            for j, part in enumerate(content)]


def _part_text(part: Any, field: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise RequestError(field, part, expected='a part such as {"type": "text", "text": "Hello"}')
    kind = part.get("type", "text")
    if not isinstance(kind, str) or kind not in _TEXT_KEYS:
        raise RequestError(f"{field}.type", kind, expected=f"one of {', '.join(_TEXT_KEYS)}",
                           hint="Images go into chats with a model that takes them; audio, video and files are not "
                           "built.")
    text = part.get(_TEXT_KEYS[kind])
    if not isinstance(text, str):
        raise RequestError(f"{field}.{_TEXT_KEYS[kind]}", text, expected="a string")
    return text


def _tool_calls(calls: Any, field: str) -> list[dict[str, Any]]:
    if isinstance(calls, str | Mapping) or not isinstance(calls, Sequence):
        raise RequestError(field, calls, expected="a list of tool calls")
    return [_tool_call(call, f"{field}[{j}]") for j, call in enumerate(calls)]


def _tool_call(call: Any, field: str) -> dict[str, Any]:
    """A tool call with its arguments as an object, as templates expect; clients send them as JSON text."""
    if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
        return {**call, "function": _function(call["function"], f"{field}.function")}
    return _function(call, field)


def _function(function: Any, field: str) -> dict[str, Any]:
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RequestError(field, function, expected='a call such as {"name": "add", "arguments": "{\\"a\\": 1}"}')
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise RequestError(f"{field}.arguments", arguments, expected="a JSON object", hint=f"{error}.") from error
    arguments = {} if arguments in (None, "") or isinstance(arguments, str) else arguments
    if not isinstance(arguments, Mapping):
        raise RequestError(f"{field}.arguments", arguments, expected="a JSON object")
    return {**function, "arguments": dict(arguments)}
