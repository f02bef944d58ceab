"""`Record`: one response of /v1/responses as it grows: the object that clients see, from "queued" to its end."""

from __future__ import annotations

import time
from typing import Any

from weft.outputs import CompletionOutput, RequestOutput
from weft.server.openai.answer_parts import AnswerParts
from weft.server.openai.logprobs import chat_logprobs
from weft.server.openai.responses.items import ItemStream
from weft.server.openai.responses.schemas import ResponsesBody
from weft.server.openai.turn import Turn

_ENDS = {"length": "incomplete", "abort": "cancelled"}


class Record:
    """The state of one response."""

    def __init__(self, turn: Turn, body: ResponsesBody) -> None:
        self.turn, self.parts = turn, turn.parts()
        self._items = ItemStream()
        text, reasoning = body.text or {}, body.reasoning or {}
        self.response: dict[str, Any] = {
            "id": turn.response_id, "object": "response", "created_at": turn.created, "status": "in_progress",
            "background": body.background, "completed_at": None, "error": None, "incomplete_details": None,
            "instructions": body.instructions, "max_output_tokens": body.max_output_tokens, "metadata": body.metadata,
            "model": turn.model, "output": [], "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id, "reasoning": {
                "effort": reasoning.get("effort"), "summary": None},
            "service_tier": "default", "store": body.store, "temperature": turn.params.temperature,
            "text": {"format": text.get("format") or {"type": "text"}}, "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [], "top_logprobs": body.top_logprobs or 0, "top_p": turn.params.top_p,
            "truncation": "disabled", "usage": None, "user": body.user}

    @property
    def items(self) -> list[dict[str, Any]]:
        """The output items so far."""
        return self._items.items

    def add(self, answer: CompletionOutput) -> list[dict[str, Any]]:
        """The events of the next part of the answer, or of the whole answer."""
        return self._items.add(self.parts.push(answer), self._logprobs(answer))

    def end(self, output: RequestOutput, answer: CompletionOutput, num_reasoning_tokens: int | None
            ) -> list[dict[str, Any]]:
        """The events of the answer's end."""
        status = _ENDS.get(answer.finish_reason or "", "completed")
        events = self._items.end("completed" if status == "completed" else "incomplete")
        reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
        self.response |= {"status": status, "incomplete_details": reason, "output": self.items,
                          "usage": _usage(output, self.parts, num_reasoning_tokens),
                          "completed_at": int(time.time()) if status == "completed" else None}
        kind = "incomplete" if status == "incomplete" else "completed" if status == "completed" else "failed"
        return [*events, {"type": f"response.{kind}", "response": self.response}]

    def fail(self, message: str) -> None:
        """The answer ended by an error."""
        self.response |= {"status": "failed", "error": {"code": "server_error", "message": message},
                          "output": self.items}

    def cancel(self) -> None:
        """The client ended the answer."""
        self._items.end("incomplete")
        self.response |= {"status": "cancelled", "output": self.items}

    def message(self) -> dict[str, Any]:
        """The answer as a message of a chat, for what follows it."""
        answer = self.parts.answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.content}
        if answer.reasoning is not None:
            message["reasoning"] = answer.reasoning
        if answer.has_calls:
            message["tool_calls"] = [{"id": call.id, "type": "function", "function": {
                "name": call.name, "arguments": call.arguments}} for call in answer.tool_calls]
        return message

    def _logprobs(self, answer: CompletionOutput) -> list[dict[str, Any]]:
        if self.turn.params.logprobs is None or not answer.token_ids:
            return []
        return chat_logprobs(self.turn.names, answer.token_ids, answer.logprobs or [],
                             self.turn.num_top_logprobs)["content"]


def _usage(output: RequestOutput, parts: AnswerParts, num_reasoning_tokens: int | None) -> dict[str, Any]:
    num_input, num_output = output.num_prompt_tokens, len(parts.token_ids)
    return {"input_tokens": num_input, "output_tokens": num_output, "total_tokens": num_input + num_output,
            "input_tokens_details": {"cached_tokens": output.num_cached_tokens or 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": num_reasoning_tokens or 0}}
