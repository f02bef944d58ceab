"""The base classes of parsers that are written for vLLM. Names, arguments and their meaning are vLLM's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from weft.text.vllm_parsers.messages import ChatCompletionRequest, DeltaMessage, ExtractedToolCallInformation


class ToolParser:
    """Finds tool calls. model_tokenizer: a tokenizer of transformers."""

    def __init__(self, tokenizer: Any, tools: Any = None) -> None:
        self.prev_tool_call_arr: list[dict[str, Any]] = []
        self.current_tool_id = -1
        self.current_tool_name_sent = False
        self.streamed_args_for_tool: list[str] = []
        self.model_tokenizer, self.tools = tokenizer, tools

    @cached_property
    def vocab(self) -> dict[str, int]:
        """{token: id}."""
        return self.model_tokenizer.get_vocab()

    def adjust_request(self, request: ChatCompletionRequest) -> ChatCompletionRequest:
        """The request as the parser needs it. Special tokens stay in the answers of all such parsers."""
        return request

    def extract_tool_calls(self, model_output: str, request: ChatCompletionRequest) -> ExtractedToolCallInformation:
        """The calls of a whole answer."""
        raise NotImplementedError(_missing(self, "extract_tool_calls", "answers that are not streamed"))

    def extract_tool_calls_streaming(
            self, previous_text: str, current_text: str, delta_text: str, previous_token_ids: Sequence[int],
            current_token_ids: Sequence[int], delta_token_ids: Sequence[int],
            request: ChatCompletionRequest) -> DeltaMessage | None:
        """What a further piece of an answer adds; None: nothing yet."""
        raise NotImplementedError(_missing(self, "extract_tool_calls_streaming", "streamed answers"))


class ReasoningParser:
    """Finds reasoning. model_tokenizer: a tokenizer of transformers.

    Versions before 0.12 name the two methods that find it extract_reasoning_content and
    extract_reasoning_content_streaming; a class may define either.
    """

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        self.model_tokenizer = tokenizer

    @cached_property
    def vocab(self) -> dict[str, int]:
        """{token: id}."""
        return self.model_tokenizer.get_vocab()

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Whether the reasoning has ended within these tokens."""
        return False

    def is_reasoning_end_streaming(self, input_ids: Sequence[int], delta_ids: Iterable[int]) -> bool:
        """Whether it has, after the last few of them."""
        return self.is_reasoning_end(input_ids)

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """The tokens behind the reasoning."""
        return []

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """The reasoning and the content of a whole answer."""
        return self.extract_reasoning_content(model_output, request)

    def extract_reasoning_streaming(
            self, previous_text: str, current_text: str, delta_text: str, previous_token_ids: Sequence[int],
            current_token_ids: Sequence[int], delta_token_ids: Sequence[int]) -> DeltaMessage | None:
        """What a further piece of an answer adds; None: nothing yet."""
        return self.extract_reasoning_content_streaming(previous_text, current_text, delta_text, previous_token_ids,
                                                        current_token_ids, delta_token_ids)

    def extract_reasoning_content(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """The older name."""
        raise NotImplementedError(_missing(self, "extract_reasoning", "answers that are not streamed"))

    def extract_reasoning_content_streaming(self, *args: Any) -> DeltaMessage | None:
        """The older name."""
        raise NotImplementedError(_missing(self, "extract_reasoning_streaming", "streamed answers"))


class BaseThinkingReasoningParser(ReasoningParser):
    """Reasoning up to `end_token`, which a subclass states, as it states the `start_token` that may stand before it."""

    start_token: str = "<think>"
    end_token: str = "</think>"

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(tokenizer, *args, **kwargs)
        self.start_token_id, self.end_token_id = self.vocab.get(self.start_token), self.vocab.get(self.end_token)

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Whether the last of both marks is the end."""
        for token_id in reversed(input_ids):
            if token_id in (self.start_token_id, self.end_token_id):
                return token_id == self.end_token_id
        return False

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """The tokens behind the last end mark."""
        places = [i for i, token_id in enumerate(input_ids) if token_id == self.end_token_id]
        return list(input_ids[places[-1] + 1:]) if places else []

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """See `ReasoningParser`."""
        reasoning, content = self._split(model_output)
        return reasoning, content or None

    def extract_reasoning_streaming(
            self, previous_text: str, current_text: str, delta_text: str, previous_token_ids: Sequence[int],
            current_token_ids: Sequence[int], delta_token_ids: Sequence[int]) -> DeltaMessage | None:
        """See `ReasoningParser`."""
        before, now = self._split(previous_text), self._split(current_text)
        reasoning, content = (new[len(old):] for old, new in zip(before, now, strict=True))
        if not reasoning and not content:
            return None
        return DeltaMessage(reasoning=reasoning or None, content=content or None)

    def extract_reasoning_content(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """The older name."""
        return self.extract_reasoning(model_output, request)

    def extract_reasoning_content_streaming(self, *args: Any) -> DeltaMessage | None:
        """The older name."""
        return self.extract_reasoning_streaming(*args)

    def _split(self, text: str) -> tuple[str, str]:
        before, mark, behind = text.partition(self.start_token)
        reasoning, _, content = (behind if mark and not before.strip() else text).partition(self.end_token)
        return reasoning, content


class DeepSeekR1ReasoningParser(BaseThinkingReasoningParser):
    """Reasoning between <think>, which may be missing, and </think>."""


def _missing(parser: object, method: str, answers: str) -> str:
    return f"{type(parser).__name__} must define {method}: it parses {answers}."
