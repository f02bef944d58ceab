"""The schemas of Anthropic's routes' request bodies."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from weft.compat.vllm.options.anthropic import MESSAGES
from weft.server.openai.schemas import MAX_STOP_STRINGS, SAMPLING, Body, Int, Messages, Object, Objects

# Sampling fields that OpenAI's clients send under other names, or that make several answers.
_NOT_HERE = frozenset({"n", "stop", "best_of", "use_beam_search", "length_penalty", "early_stopping", "prompt_logprobs",
                       "logprob_token_ids"})


class CountTokensBody(Body):
    """POST /v1/messages/count_tokens. `request.py` checks messages, tools and the objects."""

    options: ClassVar = MESSAGES

    model: str | None = None
    messages: Messages
    system: str | Objects | None = None
    tools: Objects | None = None
    tool_choice: Object | None = None
    thinking: Object | None = None
    output_config: Object | None = None


class MessagesBody(CountTokensBody):
    """POST /v1/messages. Sampling fields of the chat route may be sent, too."""

    sampling_fields: ClassVar = SAMPLING - _NOT_HERE
    needs: ClassVar = "generate"

    max_tokens: Int
    stop_sequences: Annotated[list[str], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stream: bool = False
