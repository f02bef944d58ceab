"""Translates a body of /v1/responses into a chat body: items to messages, flat tools to nested ones, `text.format`.

The chat route's code then checks and renders it, so that both routes follow the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.errors import NotBuiltError
from weft.media.encoded import ImageFile, read_image_url
from weft.server.errors import ApiError, bad_field
from weft.server.openai.responses.schemas import InputBody, ResponsesBody

LOGPROBS = "message.output_text.logprobs"
INCLUDABLE = (LOGPROBS, "reasoning.encrypted_content", "file_search_call.results", "web_search_call.results",
              "web_search_call.action.sources", "message.input_image.image_url", "code_interpreter_call.outputs",
              "computer_call_output.output.image_url")
_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal", "summary_text": "text",
          "reasoning_text": "text"}


def chat_fields(body: InputBody, conversation: list[dict[str, Any]], *, knows_developer: bool) -> dict[str, Any]:
    """The fields of a chat body about the conversation and the answer's form. ApiError 400 names what is wrong.

    conversation: its messages, without the instructions. knows_developer: the chat template has the role "developer";
    otherwise its messages are the system's.
    """
    messages = list(conversation)
    if body.instructions is not None:
        messages.insert(0, {"role": "developer", "content": body.instructions})
    if not knows_developer:
        messages = _with_one_system([message if message["role"] != "developer" else {**message, "role": "system"}
                                     for message in messages])
    fields: dict[str, Any] = {"model": body.model, "messages": messages,
                              "parallel_tool_calls": body.parallel_tool_calls}
    if body.tools:
        fields["tools"] = [_tool(f"tools.{i}", tool) for i, tool in enumerate(body.tools)]
    if body.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(body.tool_choice)
    if body.reasoning is not None:
        fields["reasoning_effort"] = body.reasoning.get("effort")
    if body.text is not None and body.text.get("format") is not None:
        fields["response_format"] = _format(body.text["format"])
    return {name: value for name, value in fields.items() if value is not None}


def logprob_fields(body: ResponsesBody) -> dict[str, Any]:
    """The fields of a chat body that ask for log-probabilities."""
    for i, name in enumerate(body.include):
        if name not in INCLUDABLE:
            raise bad_field(f"include.{i}", name, expected=f"one of {', '.join(INCLUDABLE)}")
    if LOGPROBS not in body.include and body.top_logprobs is None:
        return {}
    return {"logprobs": True, "top_logprobs": body.top_logprobs}


def input_messages(given: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages that `input` means. Reasoning, text and calls of one turn of the assistant are one message."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[dict[str, Any]] = []
    for message in _each(given):
        last = messages[-1] if messages else None
        if last is not None and last["role"] == message["role"] == "assistant" and _is_one_turn(last, message):
            messages[-1] = _joined(last, message)
        else:
            messages.append(message)
    for message in messages:
        message.setdefault("content", None)
    return messages


def _is_one_turn(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """A second text, or reasoning behind a text or a call, begins another message."""
    return not (("content" in first and "content" in second) or "reasoning" in second)


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    joined = {**first, **second}
    if calls := [*first.get("tool_calls", ()), *second.get("tool_calls", ())]:
        joined["tool_calls"] = calls
    return joined


def _with_one_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Joins the system's messages at the beginning, because many templates take only one."""
    num = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    if num < 2:
        return messages
    return [{"role": "system", "content": "\n\n".join(message["content"] for message in messages[:num])},
            *messages[num:]]


def _each(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for i, item in enumerate(items):
        place, kind = f"input.{i}", item.get("type") or "message"
        match kind:
            case "message":
                role = item.get("role")
                if role not in _ROLES:
                    raise bad_field(f"{place}.role", role, expected=f"one of {', '.join(_ROLES)}")
                read = _content if role == "user" else _text
                yield {"role": role, "content": read(f"{place}.content", item.get("content"))}
            case "reasoning":
                parts = item.get("content") or item.get("summary") or []
                yield {"role": "assistant", "reasoning": _text(f"{place}.content", parts)}
            case "function_call":
                function = {name: _string(f"{place}.{name}", item.get(name)) for name in ("name", "arguments")}
                yield {"role": "assistant", "tool_calls": [{
                    "id": _string(f"{place}.call_id", item.get("call_id")), "type": "function", "function": function}]}
            case "function_call_output":
                yield {"role": "tool", "tool_call_id": _string(f"{place}.call_id", item.get("call_id")),
                       "content": _text(f"{place}.output", item.get("output"))}
            case _:
                raise NotBuiltError(f"{place}.type", kind, hint="weft takes text, functions and reasoning.",
                                    expected="message, reasoning, function_call or function_call_output")


def _text(place: str, content: Any) -> str:
    """The text of a string or of a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(_part_text(f"{place}.{i}", part) for i, part in enumerate(_parts(place, content)))


def _content(place: str, content: Any) -> str | list[Any]:
    """A user's content: with images a list of a chat message's parts, else one text."""
    if isinstance(content, str) or all(part["type"] != "input_image" for part in _parts(place, content)):
        return _text(place, content)
    return [_image(f"{place}.{i}", part) if part["type"] == "input_image" else
            {"type": "text", "text": _part_text(f"{place}.{i}", part)} for i, part in enumerate(content)]


def _parts(place: str, content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise bad_field(place, content, expected="a string or a list of parts")
    for i, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise bad_field(f"{place}.{i}", part, expected='a part such as {"type": "input_text", "text": "Hello"}')
    return content


def _part_text(place: str, part: dict[str, Any]) -> str:
    kind = part["type"]
    if kind not in _TEXTS:
        raise NotBuiltError(f"{place}.type", kind, expected="a text", hint="weft takes texts and, of users, images.")
    return _string(f"{place}.{_TEXTS[kind]}", part.get(_TEXTS[kind]))


def _image(place: str, part: dict[str, Any]) -> ImageFile:
    if part.get("file_id") is not None:
        raise NotBuiltError(f"{place}.file_id", part["file_id"], expected="null",
                            hint="weft keeps no files: send the file itself as image_url.")
    return read_image_url(f"{place}.image_url", part.get("image_url"))


def _string(place: str, value: Any) -> str:
    if value is None:
        raise ApiError(400, f"{place} is missing.", place)
    if not isinstance(value, str):
        raise bad_field(place, value, expected="a string")
    return value


def _tool(place: str, tool: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(kind := tool.get("type"), str):
        raise bad_field(f"{place}.type", kind, expected="function")
    if kind != "function":
        raise NotBuiltError(f"{place}.type", kind, expected="function",
                            hint="weft runs no tools itself: the client does, when the model calls them.")
    function = {name: tool[name] for name in ("name", "description", "parameters", "strict")
                if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    if not isinstance(choice, dict) or choice.get("type") != "function":
        raise bad_field("tool_choice", choice, expected='none, auto, required or {"type": "function", "name": …}')
    return {"type": "function", "function": {"name": _string("tool_choice.name", choice.get("name"))}}


def _format(form: Any) -> dict[str, Any]:
    kind = form.get("type") if isinstance(form, dict) else None
    if kind in ("text", "json_object"):
        return {"type": kind}
    if kind != "json_schema":
        raise bad_field("text.format", form, expected="a text, json_object or json_schema format")
    return {"type": kind, "json_schema": {name: form[name] for name in ("name", "description", "schema", "strict")
                                          if form.get(name) is not None}}
