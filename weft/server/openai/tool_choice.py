"""`ToolUse`: what a chat body says about tools: which the template shows, and which the answer may or must call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from weft.server.errors import bad_field
from weft.server.openai.schemas import ChatBody
from weft.text.parsing.parsers import Parsers

_CHOICES = 'none, auto, required or {"type": "function", "function": {"name": …}}'


class Choice(Enum):
    """Whether an answer calls tools."""

    NONE = "none"
    AUTO = "auto"              # the model decides
    REQUIRED = "required"      # at least one
    NAMED = "named"            # the tool of that name


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of a request. name: of the tool that must be called, for NAMED. may_repeat: several calls are allowed.
    """

    choice: Choice
    tools: tuple[Mapping[str, Any], ...] = ()
    name: str | None = None
    may_repeat: bool = True

    @property
    def is_forced(self) -> bool:
        """True if the answer is calls, in a form that is forced."""
        return self.choice in (Choice.REQUIRED, Choice.NAMED)

    @property
    def is_free(self) -> bool:
        """True if the model may call tools in its own format."""
        return self.choice is Choice.AUTO


def read_tool_use(body: ChatBody, parsers: Parsers) -> ToolUse:
    """What the body says. ApiError 400 names the wrong field. By default tools may be called if there are any."""
    tools, choice = tuple(body.tools or ()), body.tool_choice
    for i, tool in enumerate(tools):
        _check_tool(tool, f"tools.{i}")
    may_repeat = body.parallel_tool_calls is not False
    if not tools:
        if choice not in (None, "none"):
            raise bad_field("tool_choice", choice, expected="null or none without tools", hint="Send `tools`, too.")
        return ToolUse(Choice.NONE)
    if choice == "none":
        return ToolUse(Choice.NONE, tools)
    if choice in (None, "auto"):
        if parsers.tools is None and not (parsers.reasoning is not None and parsers.reasoning.is_whole):
            raise bad_field("tools", [tool["function"]["name"] for tool in tools],
                            expected="none, because the chat template does not tell how this model calls tools",
                            hint='Start the server with --tool-call-parser NAME, or send tool_choice "none".')
        return ToolUse(Choice.AUTO, tools, may_repeat=may_repeat)
    if choice == "required":
        return ToolUse(Choice.REQUIRED, tools, may_repeat=may_repeat)
    if (name := _named(choice, tools)) is not None:
        return ToolUse(Choice.NAMED, tools, name)
    raise bad_field("tool_choice", choice, expected=_CHOICES)


def _check_tool(tool: Mapping[str, Any], place: str) -> None:
    if tool.get("type") != "function":
        raise bad_field(f"{place}.type", tool.get("type"), expected="function",
                        hint="weft runs no tools itself: the client does, when the model calls them.")
    function = tool.get("function")
    if not isinstance(function, Mapping):
        raise bad_field(f"{place}.function", function, expected='an object such as {"name": "add", "parameters": {…}}')
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not name:
        raise bad_field(f"{place}.function.name", name, expected="a string that is not empty")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise bad_field(f"{place}.function.parameters", parameters, expected="an object, a JSON schema")


def _named(choice: Any, tools: tuple[Mapping[str, Any], ...]) -> str | None:
    """The name in a choice such as {"type": "function", "function": {"name": "add"}}; None for another value."""
    function = choice.get("function") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    if not isinstance(function, Mapping):
        return None
    name, names = function.get("name"), [tool["function"]["name"] for tool in tools]
    if name not in names:
        raise bad_field("tool_choice.function.name", name, expected=f"the name of one of the tools: {', '.join(names)}")
    return name
