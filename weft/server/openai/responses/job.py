"""`Job`: the work for one response: whole, streamed, or in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from weft.outputs import CompletionOutput, RequestOutput
from weft.server.errors import as_api_error
from weft.server.openai.responses.event_log import EventLog
from weft.server.openai.responses.record import Record
from weft.server.openai.responses.schemas import ResponsesBody
from weft.server.openai.responses.store import ResponseStore, Stored
from weft.server.openai.turn import Turn
from weft.server.token_times import TokenClock


class Job:
    """One response on its way."""

    def __init__(self, turn: Turn, body: ResponsesBody, conversation: list[dict[str, Any]],
                 store: ResponseStore) -> None:
        """conversation: the messages up to the answer, without the instructions, which hold for this response only."""
        self._turn, self._body, self._conversation, self._store = turn, body, conversation, store
        self.record = Record(turn, body)
        self._stored = Stored(self.record.response, [], input_items(body))
        self._number = 0      # of the next event

    async def run(self) -> None:
        """Make the whole answer and store it."""
        [output] = await self._turn.generation.final()
        self.record.add(output.outputs[0])
        await self._end(output, output.outputs[0])

    def start(self) -> asyncio.Task[None]:
        """Make the answer in the background. Until it has ended the store holds its state, and its events if it is
        streamed."""
        self.record.response["status"] = "queued"
        self._stored.log = EventLog() if self._body.stream else None
        self._stored.task = asyncio.create_task(self._in_background())
        self._store.put(self._stored)
        return self._stored.task

    async def _in_background(self) -> None:
        log = self._stored.log
        try:
            self.record.response["status"] = "in_progress"
            if log is None:
                await self.run()
            else:
                async with aclosing(self.stream()) as events:
                    async for _ in events:      # `_event` has put them into the log
                        pass
        except asyncio.CancelledError:
            self.record.cancel()
            raise
        except Exception as error:      # there is no client to tell; the next one to look finds it in the response
            self.record.fail(as_api_error(error).message)
            self._event({"type": "response.failed", "response": self.record.response})
        finally:
            if log is not None:
                log.close()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The response's events. An exception after the first one becomes an event; an earlier one is raised."""
        async with aclosing(self._events()) as events:
            try:
                async for event in events:
                    yield event
            except Exception as error:
                if not self._number:
                    raise
                found = as_api_error(error)
                self.record.fail(found.message)
                yield self._event({"type": "error", "code": str(found.status), "message": found.message,
                                   "param": found.param})
                yield self._event({"type": "response.failed", "response": self.record.response})

    async def _events(self) -> AsyncGenerator[bytes, None]:
        clock = TokenClock(self._turn.served.metrics.token_times)
        async with aclosing(self._turn.generation.outputs()) as outputs:
            async for _, output in outputs:
                if not self._number:
                    for kind in ("response.created", "response.in_progress"):
                        yield self._event({"type": kind, "response": self.record.response})
                for answer in output.outputs:
                    clock.tick((0, 0), len(answer.token_ids))
                    if events := self.record.add(answer):
                        yield b"".join(map(self._event, events))
                    if answer.finish_reason is not None:
                        yield b"".join(map(self._event, await self._end(output, answer)))

    async def _end(self, output: RequestOutput, answer: CompletionOutput) -> list[dict[str, Any]]:
        count = await self._turn.served.work.answers.run(self._turn.num_reasoning_tokens, [self.record.parts])
        events = self.record.end(output, answer, count)
        if self._body.store:
            self._stored.messages = [*self._conversation, self.record.message()]
            self._store.put(self._stored)
        return events

    def _event(self, data: dict[str, Any]) -> bytes:
        numbered = {**data, "sequence_number": self._number}
        self._number += 1
        event = b"event: " + data["type"].encode() + b"\ndata: " + msgspec.json.encode(numbered) + b"\n\n"
        if self._stored.log is not None:
            self._stored.log.add(event)
        return event

    @property
    def log(self) -> EventLog | None:
        """The events of a response that is made in the background and streamed."""
        return self._stored.log


def input_items(body: ResponsesBody) -> list[dict[str, Any]]:
    """The items of `input`, each with a type and an id."""
    given = body.input
    if isinstance(given, str):
        given = [{"role": "user", "content": [{"type": "input_text", "text": given}]}]
    return [{"type": "message", "id": f"item_{i}", **item} for i, item in enumerate(given)]
