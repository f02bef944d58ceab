"""The messages that parsers written for vLLM get and return. Names and fields are vLLM's, of all its versions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from weft.text.tools.calls import random_id


def make_tool_call_id(id_type: str = "random", func_name: str | None = None, idx: int | None = None) -> str:
    """A new id of a call; `id_type` "kimi_k2" makes one as those models do."""
    return f"functions.{func_name}:{idx}" if id_type == "kimi_k2" else random_id("", 0)


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class FunctionCall(_Message):
    """A function's name and the JSON text of its arguments."""

    name: str
    arguments: str


class ToolCall(_Message):
    """A whole call."""

    id: str = Field(default_factory=make_tool_call_id)
    type: str = "function"
    function: FunctionCall


class DeltaFunctionCall(_Message):
    """A piece of a function's name and arguments."""

    name: str | None = None
    arguments: str | None = None


class DeltaToolCall(_Message):
    """A piece of the call with this index."""

    id: str | None = None
    type: str | None = None
    index: int
    function: DeltaFunctionCall | None = None


class DeltaMessage(_Message):
    """A piece of an answer. Versions before 0.12 call the reasoning reasoning_content."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[DeltaToolCall] = Field(default_factory=list)


class ExtractedToolCallInformation(_Message):
    """What a parser found in a whole answer."""

    tools_called: bool
    tool_calls: list[ToolCall]
    content: str | None = None


class FunctionDefinition(_Message):
    """A function that a request offers."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ChatCompletionToolsParam(_Message):
    """A tool that a request offers."""

    type: str = "function"
    function: FunctionDefinition


class ChatCompletionRequest(_Message):
    """A request. Fields that are not named here are there if the client sent them."""

    messages: list[Any] = Field(default_factory=list)
    model: str | None = None
    tools: list[ChatCompletionToolsParam] | None = None
    tool_choice: Any = "none"
    stream: bool = False
    include_reasoning: bool = True
    parallel_tool_calls: bool | None = True
    skip_special_tokens: bool = True
    chat_template_kwargs: dict[str, Any] | None = None
    structured_outputs: Any = None
    response_format: Any = None
