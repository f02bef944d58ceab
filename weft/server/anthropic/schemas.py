"""The schemas of Anthropic's routes' request bodies."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from weft.compat.vllm.options.anthropic import MESSAGES
from weft.server.openai.schemas import MAX_MESSAGES, MAX_STOP_STRINGS, SAMPLING, Body, Int

# Sampling fields that OpenAI's clients send under other names, or that make several answers.
_NOT_HERE = frozenset({"n", "stop", "best_of", "use_beam_search", "length_penalty", "early_stopping", "prompt_logprobs",
                       "logprob_token_ids"})


class CountTokensBody(Body):
    """POST /v1/messages/count_tokens. `request.py` checks messages, tools and the objects."""

    options: ClassVar = MESSAGES

    model: str | None = None
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None


class MessagesBody(CountTokensBody):
    """POST /v1/messages. Sampling fields of the chat route may be sent, too."""

    sampling_fields: ClassVar = SAMPLING - _NOT_HERE
    needs: ClassVar = "generate"

    max_tokens: Int
    stop_sequences: Annotated[list[str], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stream: bool = False
