"""Translates an Anthropic body into a chat body: roles, content blocks, tools, thinking.

The chat route's code then checks and renders it, so that both APIs follow the same rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from weft.errors import NotBuiltError
from weft.media.encoded import ImageFile, encoded_image, read_image_url
from weft.server.anthropic.schemas import CountTokensBody
from weft.server.errors import ApiError, bad_field

_ROLES = ("user", "assistant", "system")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_fields(body: CountTokensBody) -> dict[str, Any]:
    """The fields of a chat body about the conversation and the answer's form. ApiError 400 names what is wrong."""
    messages = list(_messages(body))
    is_begun = messages[-1]["role"] == "assistant"
    fields: dict[str, Any] = {"model": body.model, "messages": messages, "continue_final_message": is_begun,
                              "add_generation_prompt": not is_begun}
    if body.tools:
        fields["tools"] = [_tool(f"tools.{i}", tool) for i, tool in enumerate(body.tools)]
    if body.tool_choice is not None:
        fields |= _tool_choice(body.tool_choice)
    if body.output_config is not None:
        fields |= _output(body.output_config)
    return {name: value for name, value in fields.items() if value is not None}


def thinking_fields(thinking: dict[str, Any] | None, *, has_switch: bool, has_marks: bool) -> dict[str, Any]:
    """The fields of a chat body about the model's thinking.

    has_switch: the chat template reads `enable_thinking`. has_marks: the server knows the marks of the model's
    thinking; without them there is no budget, because agents send one to every model.
    """
    if thinking is None:
        return {}
    kind, display = thinking.get("type"), thinking.get("display")
    if kind not in ("enabled", "disabled", "adaptive", "between_tools"):
        raise bad_field("thinking.type", kind, expected="enabled, disabled, adaptive or between_tools")
    if display not in (None, "summarized", "omitted"):
        raise bad_field("thinking.display", display, expected="summarized or omitted")
    fields: dict[str, Any] = {"include_reasoning": False} if display == "omitted" or kind == "disabled" else {}
    if has_switch and kind in ("enabled", "disabled"):
        fields["chat_template_kwargs"] = {"enable_thinking": kind == "enabled"}
    budget = thinking.get("budget_tokens")
    if budget is not None and (not isinstance(budget, int) or isinstance(budget, bool) or budget < 1):
        raise bad_field("thinking.budget_tokens", budget, expected="an integer of at least 1")
    if budget is not None and kind == "enabled" and has_marks:
        fields["thinking_token_budget"] = budget
    return fields


def _messages(body: CountTokensBody) -> Iterator[dict[str, Any]]:
    """The chat's messages. Neighbours of one role are one message, as Anthropic's rules say."""
    last: dict[str, Any] | None = None
    for message in _separate(body):
        if last is not None and last["role"] == message["role"] and message["role"] in ("user", "assistant"):
            last = _joined(last, message)
            continue
        if last is not None:
            yield last
        last = message
    assert last is not None, "the schema asks for a message"
    yield last


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    joined = {**first, **second}
    parts = [part for message in (first, second) for part in _parts(message.get("content"))]
    joined["content"] = _content(parts) if parts else None
    if calls := [*first.get("tool_calls", ()), *second.get("tool_calls", ())]:
        joined["tool_calls"] = calls
    if thoughts := [message["reasoning"] for message in (first, second) if "reasoning" in message]:
        joined["reasoning"] = "\n".join(thoughts)
    return joined


def _separate(body: CountTokensBody) -> Iterator[dict[str, Any]]:
    if body.system:
        yield {"role": "system", "content": _text("system", body.system)}
    for i, message in enumerate(body.messages):
        place, role, content = f"messages.{i}", message.get("role"), message.get("content")
        if role not in _ROLES:
            raise bad_field(f"{place}.role", role, expected="user, assistant or system")
        if isinstance(content, str):
            yield {"role": role, "content": content}
        elif role == "assistant":
            yield _assistant(place, _blocks(f"{place}.content", content))
        elif role == "user":
            yield from _user(place, _blocks(f"{place}.content", content))
        else:
            yield {"role": role, "content": _text(f"{place}.content", content)}


def _user(place: str, blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A user's message: results of tools are messages of their own."""
    parts: list[str | ImageFile] = []
    for i, block in enumerate(blocks):
        where = f"{place}.content.{i}"
        if block["type"] != "tool_result":
            parts.append(_image(where, block) if block["type"] == "image" else _block_text(where, block))
            continue
        if parts:
            yield {"role": "user", "content": _content(parts)}
            parts = []
        result = block.get("content") or ""
        yield {"role": "tool", "tool_call_id": _string(f"{where}.tool_use_id", block.get("tool_use_id")),
               "content": _text(f"{where}.content", result)}
    if parts or not blocks:
        yield {"role": "user", "content": _content(parts)}


def _content(parts: list[str | ImageFile]) -> str | list[Any]:
    """A chat message's content: with images a list of parts, else one text."""
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts):
        return "\n".join(texts)
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]


def _parts(content: str | list[Any] | None) -> list[str | ImageFile]:
    """The parts of which `_content` made a message's content."""
    if isinstance(content, list):
        return [part if isinstance(part, ImageFile) else part["text"] for part in content]
    return [content] if content else []


def _image(place: str, block: dict[str, Any]) -> ImageFile:
    source = block.get("source")
    if not isinstance(source, dict):
        raise bad_field(f"{place}.source", source, expected="an object with type, and with media_type and data, or url")
    if (kind := source.get("type")) == "url":
        return read_image_url(f"{place}.source", source.get("url"))
    if kind != "base64":
        raise NotBuiltError(f"{place}.source.type", kind, expected="base64 or url",
                            hint="weft keeps no files: send the file itself.")
    return encoded_image(f"{place}.source", source.get("media_type"), source.get("data"))


def _assistant(place: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for i, block in enumerate(blocks):
        where = f"{place}.content.{i}"
        match block["type"]:
            case "thinking":
                thoughts.append(_string(f"{where}.thinking", block.get("thinking")))
            case "redacted_thinking":
                continue
            case "tool_use":
                calls.append(_call(where, block))
            case _:
                texts.append(_block_text(where, block))
    message: dict[str, Any] = {"role": "assistant", "content": "\n".join(texts) if texts or not calls else None}
    if thoughts:
        message["reasoning"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _call(place: str, block: dict[str, Any]) -> dict[str, Any]:
    given = block.get("input")
    if not isinstance(given, dict):
        raise bad_field(f"{place}.input", given, expected="an object")
    return {"id": _string(f"{place}.id", block.get("id")), "type": "function",
            "function": {"name": _string(f"{place}.name", block.get("name")),
                         "arguments": json.dumps(given, ensure_ascii=False)}}


def _text(place: str, content: Any) -> str:
    """The text of a string or of a list of text blocks."""
    if isinstance(content, str):
        return content
    return "\n".join(_block_text(f"{place}.{i}", block) for i, block in enumerate(_blocks(place, content)))


def _block_text(place: str, block: dict[str, Any]) -> str:
    kind = block["type"]
    if kind == "text":
        return _string(f"{place}.text", block.get("text"))
    if kind == "search_result":
        parts = _text(f"{place}.content", block.get("content"))
        return "\n".join(filter(None, (block.get("title"), block.get("source"), parts)))
    if kind == "document" and (source := block.get("source") or {}).get("type") == "text":
        return "\n".join(filter(None, (block.get("title"), _string(f"{place}.source.data", source.get("data")))))
    raise NotBuiltError(place, kind, expected="a text block here", hint="weft takes texts and, of users, images.")


def _blocks(place: str, content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise bad_field(place, content, expected="a string or a list of content blocks")
    for i, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise bad_field(f"{place}.{i}", block, expected="a content block with a type")
    return content


def _string(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ApiError(400, f"{place} is missing.", place) if value is None else bad_field(
            place, value, expected="a string")
    return value


def _tool(place: str, tool: dict[str, Any]) -> dict[str, Any]:
    if (kind := tool.get("type") or "custom") != "custom":
        raise NotBuiltError(f"{place}.type", kind, expected="custom or none",
                            hint="weft runs no tools itself: give their input_schema, and run them in the client.")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise bad_field(f"{place}.input_schema", schema, expected="a JSON schema")
    function: dict[str, Any] = {"name": _string(f"{place}.name", tool.get("name")), "parameters": schema}
    function |= {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: dict[str, Any]) -> dict[str, Any]:
    kind, fields = choice.get("type"), {}
    if choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
    if kind == "tool":
        name = _string("tool_choice.name", choice.get("name"))
        return fields | {"tool_choice": {"type": "function", "function": {"name": name}}}
    if kind not in _CHOICES:
        raise bad_field("tool_choice.type", kind, expected="auto, any, tool or none")
    return fields | {"tool_choice": _CHOICES[kind]}


def _output(config: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"reasoning_effort": config.get("effort")}
    if (form := config.get("format")) is not None:
        if not isinstance(form, dict) or form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
            raise bad_field("output_config.format", form, expected="a json_schema with its schema")
        fields["response_format"] = {"type": "json_schema",
                                     "json_schema": {"name": "output", "schema": form["schema"], "strict": True}}
    return fields
