"""`OpenRequests`: the requests of an `AsyncLLM` that have an open iterator: their way in, their outputs' way back.

The engine's events come from a thread of the client; all else happens in one event loop at a time. This module knows
no prompts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from weft.engine.process.messages import EngineRequest, StepResult
from weft.engine.process.process_client import Event, ProcessClient
from weft.engine.process.wire import Rejected, from_wire
from weft.errors import RequestError, WeftError
from weft.field_checks import check_text
from weft.frontend.gate import Gate, check_mode
from weft.frontend.inputs import Prepared
from weft.frontend.observers import Observers
from weft.frontend.outputs import OutputProcessor, Update, Updates
from weft.frontend.streams import OutputStream
from weft.frontend.vocabulary import EngineVocabulary
from weft.sampling_params import RequestOutputKind
from weft.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)


class OpenRequests:
    """Made before the engine's process, whose events go to `deliver`; `connect` follows when the process is ready.

    Attributes:
        gate: holds requests while the engine is paused or asleep. observers: are told of steps and of requests' ends.
    """

    def __init__(self) -> None:
        self.gate, self.observers = Gate(), Observers()
        self._streams: dict[str, OutputStream] = {}      # one for each request with an open iterator
        self._loop: asyncio.AbstractEventLoop | None = None

    def connect(self, client: ProcessClient, tokenizer: Tokenizer | None, vocabulary: EngineVocabulary) -> None:
        """The engine that requests go to from now on. vocabulary: sent before the first request that needs it."""
        self._client, self._outputs, self._vocabulary = client, OutputProcessor(tokenizer), vocabulary

    def bind_loop(self) -> None:
        """Sends engine events to the running event loop. Another loop may take over only while no request is open."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None and self._streams:
            raise RuntimeError("AsyncLLM has open requests in another event loop; use one loop for all.")
        self._loop = loop

    def open(self, request_id: str, kind: RequestOutputKind | None) -> OutputStream:
        """A new request's stream; `close` must follow. RequestError for an id that an open request has."""
        if check_text("request_id", request_id) in self._streams:
            raise RequestError("request_id", request_id, expected="an id that no open request has")
        stream = self._streams[request_id] = OutputStream(kind)
        return stream

    def submit(self, prepared: Prepared) -> None:
        """Sends an open request to the engine, unless the gate holds it."""
        self._outputs.add(prepared)
        if (vocabulary := self._vocabulary.take()) is not None:
            self._client.set_vocabulary(vocabulary)
        if self.gate.passes(prepared.request_id, prepared.children):
            try:
                for child in prepared.children:
                    self._client.add(child)
            except BaseException:
                self._end([prepared.request_id])
                raise
        if self._streams[prepared.request_id].is_aborted:      # while the prompt was tokenized
            self._end([prepared.request_id])

    def close(self, request_id: str) -> None:
        """The request's iterator is closed: ends the request, if it has not finished."""
        self._end([request_id])
        del self._streams[request_id]

    def abort(self, request_id: str) -> None:
        """Ends a request with finish_reason "abort". An unknown id is ignored."""
        if request_id in self._streams:
            self._streams[request_id].is_aborted = True
        self._end([request_id])

    def deliver(self, event: Event) -> None:
        """Passes an event from the client's thread to the event loop."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._handle, event)
        except RuntimeError:      # the loop is closed, so no iterator waits any more
            logger.debug("an engine event came after the event loop was closed")

    async def close_gate(self, reasons: tuple[str, ...], mode: str, then: Callable[[], Awaitable[Any]] | None) -> None:
        """Closes the gate, and awaits `then` when no request runs. If that fails the gate is as before."""
        check_mode(mode)
        self._client.check_health()
        self.bind_loop()
        added = {*reasons} - self.gate.closed_by
        self.gate.closed_by |= added
        try:
            if mode == "abort":
                self._end(self.gate.inside)
            await self.gate.until_empty()
            if then is not None:
                await then()
        except BaseException:
            self.open_gate(*added)
            raise

    def open_gate(self, *reasons: str) -> None:
        """Takes back reasons for which the gate is closed; without any left, what it held goes to the engine."""
        for request_id, children in self.gate.open(*reasons):
            try:
                for child in children:
                    self._client.add(child)
            except WeftError as error:
                self._fail(request_id, error)

    def _handle(self, event: Event) -> None:
        if isinstance(event, StepResult):
            self._apply(self._outputs.process(event.outputs))
            self.observers.tell(lambda observer: observer.on_step(event.stats))
        elif isinstance(event, Rejected):
            state = self._outputs.state_of(event.request_id)
            if state is not None:
                self._fail(state.request_id, from_wire(event.error))
        else:
            for request_id in list(self._streams):
                self._fail(request_id, event)

    def _fail(self, request_id: str, error: Exception) -> None:
        """Raises `error` in the request's iterator and ends the request."""
        stream = self._streams.get(request_id)
        if stream is not None:
            stream.fail(error)
        self._end([request_id], reason="error", error=str(error))

    def _end(self, request_ids: list[str], reason: str = "abort", error: str | None = None) -> None:
        self._apply(self._outputs.end(request_ids, reason, error))

    def _apply(self, updates: Updates) -> None:
        if updates.abort_ids:
            self._client.abort(updates.abort_ids)
        for update in updates.updates:
            self._pass_on(update)
        for request in updates.requests:
            self._go_on(request)

    def _go_on(self, request: EngineRequest) -> None:
        """Queues a next sequence of an open request. An error is raised in the request's iterator."""
        state = self._outputs.state_of(request.request_id)
        if state is None:      # it has ended since
            return
        try:
            self._client.add(request)
        except WeftError as error:
            self._fail(state.request_id, error)

    def _pass_on(self, update: Update) -> None:
        state, stream = update.state, self._streams.get(update.state.request_id)
        if state.is_finished:
            self.gate.ended(state.request_id)
        if update.output is not None and stream is not None:
            stream.put(update.output)
        if state.is_finished and self.observers:
            self.observers.tell_end(state)
