"""`PoolingState`: the state of one pooling request until its one output; the counterpart of `RequestState`."""

from __future__ import annotations

from dataclasses import dataclass

from weft.engine.process.messages import EngineOutput, WireTensor
from weft.frontend.inputs import PreparedPooling
from weft.frontend.long_inputs import joined
from weft.frontend.pooled import WiredOutput
from weft.outputs import PoolingOutput, PoolingRequestOutput, RequestMetrics


@dataclass(frozen=True, slots=True)
class PoolingRecord:
    """A pooling request that has ended, for metrics. finish_reason: "stop", "abort" or "error"."""

    request_id: str
    num_prompt_tokens: int
    num_cached_tokens: int
    finish_reason: str
    metrics: RequestMetrics


class PoolingState:
    """One open pooling request: unfinished, or finished in the current step.

    It has one sequence with the request's id, or one for each part of a long text.

    is_finished: True once the engine has finished the request or the user has ended it.
    """

    def __init__(self, prepared: PreparedPooling) -> None:
        self.request_id, self._normalizes = prepared.request_id, prepared.normalizes
        self._lens = {child.request_id: len(child.prompt_token_ids) for child in prepared.children}
        self._parts: dict[str, WireTensor] = {}              # of the sequences that have finished
        self.params = prepared.params
        self.is_finished = False
        self._finish_reason = "abort"
        self._metrics = RequestMetrics(arrival_time=prepared.arrival_time)
        self._prompt_token_ids = prepared.prompt_token_ids
        self._pooled: WireTensor | None = None
        self._num_cached_tokens = 0
        self._error: str | None = None

    @property
    def unfinished_ids(self) -> list[str]:
        """The engine's request ids that are unfinished."""
        return [] if self.is_finished else [child for child in self._lens if child not in self._parts]

    def push(self, output: EngineOutput, now: float) -> list[str]:
        """Add a step's output. Returns the ids of sequences that the engine must abort: the other parts of a text of
        which one has failed."""
        self._num_cached_tokens += output.num_cached_tokens if output.finish_reason is not None else 0
        self._metrics.first_scheduled_time = self._metrics.first_scheduled_time or output.first_scheduled_time
        self._metrics.num_preemptions = max(self._metrics.num_preemptions, output.num_preemptions)
        if output.finish_reason is None:
            return []
        if output.pooled is None:
            others = [child for child in self.unfinished_ids if child != output.request_id]
            self._error = output.error
            self._end(output.finish_reason, now)
            return others
        self._parts[output.request_id] = output.pooled
        if len(self._parts) == len(self._lens):
            self._pooled = self._join()
            self._end(output.finish_reason, now)
        return []

    def _join(self) -> WireTensor:
        parts = [self._parts[child] for child in self._lens]
        return parts[0] if len(parts) == 1 else joined(parts, list(self._lens.values()), normalizes=self._normalizes)

    def finish(self, reason: str, now: float, error: str | None = None) -> None:
        """End the request without a result."""
        if not self.is_finished:
            self._error = error or reason
            self._end(reason, now)

    def take_output(self, now: float) -> PoolingRequestOutput[PoolingOutput] | None:
        """The output, once the request has finished; None before."""
        return self.snapshot() if self.is_finished else None

    def snapshot(self) -> PoolingRequestOutput[PoolingOutput]:
        """The output up to now, finished or not."""
        return PoolingRequestOutput(
            request_id=self.request_id, prompt_token_ids=self._prompt_token_ids, finished=self.is_finished,
            outputs=None if self._pooled is None else WiredOutput(self._pooled),
            num_cached_tokens=self._num_cached_tokens, error=self._error)

    def record(self) -> PoolingRecord:
        """The ended request."""
        return PoolingRecord(self.request_id, len(self._prompt_token_ids), self._num_cached_tokens,
                             self._finish_reason, self._metrics)

    def _end(self, reason: str, now: float) -> None:
        self.is_finished, self._finish_reason, self._metrics.finished_time = True, reason, now
