"""`AnswerParts`: the reasoning, the content and the tool calls of one answer, as they come.

A whole answer is one piece of text; a streamed one has many. Both become the same parts. Knows no response shape but
OpenAI's `message` and `delta`.
"""

from __future__ import annotations

from typing import Any

from weft.outputs import CompletionOutput
from weft.text.parsing.chain import Chain
from weft.text.parsing.events import AnswerParser, CallArguments, CallStart, Content, Event, ParsedAnswer, Reasoning
from weft.text.parsing.machine import Machine


class AnswerParts:
    """Parts of one answer. parser: None if an answer is content alone.

    shows_reasoning: whether the client wants it. may_repeat: False: calls behind the first are left out.
    names_calls: whether calls change the finish reason; OpenAI's do not where the client named the tool.
    """

    def __init__(self, parser: AnswerParser | None, *, shows_reasoning: bool = True, may_repeat: bool = True,
                 names_calls: bool = True) -> None:
        self._parser, self._names_calls = parser, names_calls
        self._shows_reasoning, self._may_repeat = shows_reasoning, may_repeat
        self.answer = ParsedAnswer()
        self.token_ids: list[int] = []

    @property
    def reasoning_spans(self) -> list[tuple[int, int]]:
        """Where in the answer's text its reasoning is; complete when the answer has ended."""
        return self._parser.reasoning_spans if isinstance(self._parser, Chain | Machine) else []

    def push(self, output: CompletionOutput) -> list[Event]:
        """The events of the next part of the answer, or of the whole answer."""
        self.token_ids += output.token_ids
        if self._parser is None:
            events: list[Event] = [Content(output.text)] if output.text else []
        else:
            events = self._parser.feed(output.text, output.token_ids) if output.text or output.token_ids else []
            if output.finish_reason is not None:
                events += self._parser.finish()
        events = [event for event in events if self._is_wanted(event)]
        self.answer.add(events)
        return events

    def finish_reason(self, output: CompletionOutput) -> str | None:
        """`tool_calls` for an answer that ended by itself and calls tools; else the engine's reason."""
        is_call = self._names_calls and output.finish_reason == "stop" and self.answer.has_calls
        return "tool_calls" if is_call else output.finish_reason

    def message(self, role: str, echo: str) -> dict[str, Any]:
        """The `message` of a whole answer. echo: text before its content."""
        answer = self.answer
        is_else = answer.has_calls or answer.reasoning is not None
        content = echo + (answer.content or "")
        message: dict[str, Any] = {"role": role, "content": None if is_else and not content else content,
                                   "refusal": None}
        if answer.reasoning is not None:
            message |= {"reasoning": answer.reasoning, "reasoning_content": answer.reasoning}
        if answer.has_calls:
            message["tool_calls"] = [{"id": call.id, "type": "function",
                                      "function": {"name": call.name, "arguments": call.arguments}}
                                     for call in answer.tool_calls]
        return message

    def _is_wanted(self, event: Event) -> bool:
        match event:
            case Reasoning():
                return self._shows_reasoning
            case CallStart(index=index) | CallArguments(index=index):
                return self._may_repeat or index == 0
        return True


def delta_of(event: Event) -> dict[str, Any]:
    """The `delta` of a streamed event."""
    match event:
        case Reasoning(text):
            return {"reasoning": text, "reasoning_content": text}
        case CallStart(index, call_id, name):
            return {"tool_calls": [{"index": index, "id": call_id, "type": "function",
                                    "function": {"name": name, "arguments": ""}}]}
        case CallArguments(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
    return {"content": event.text}
