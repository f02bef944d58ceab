"""The schema of POST /v1/responses, in OpenAI's shape."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from weft.compat.vllm.options.responses import RESPONSES
from weft.server.openai.schemas import MAX_ID_CHARS, MAX_KEYS, SAMPLING, Body, Int, Messages, Object, Objects

# Sampling fields that make several answers, or that other routes give.
_NOT_HERE = frozenset({"n", "best_of", "use_beam_search", "length_penalty", "early_stopping", "prompt_logprobs"})
MAX_METADATA = 16


class InputBody(Body):
    """The fields about what the model is given, which POST /v1/responses/input_tokens has, too."""

    options: ClassVar = RESPONSES

    model: str | None = None
    input: str | Messages
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=MAX_ID_CHARS)] | None = None
    tools: Objects | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    reasoning: Object | None = None
    text: Object | None = None


class ResponsesBody(InputBody):
    """POST /v1/responses. Sampling fields of the chat route may be sent, too."""

    sampling_fields: ClassVar = SAMPLING - _NOT_HERE
    needs: ClassVar = "generate"

    stream: bool = False
    store: bool = True
    background: bool = False
    max_output_tokens: Int | None = None
    top_logprobs: Int | None = None
    include: Annotated[list[str], Field(max_length=MAX_KEYS)] = Field(default_factory=list)
    metadata: Annotated[dict[str, str], Field(max_length=MAX_METADATA)] = Field(default_factory=dict)
    user: str | None = None
    priority: Int | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)] | None = None
    chat_template_kwargs: Object = Field(default_factory=dict)
