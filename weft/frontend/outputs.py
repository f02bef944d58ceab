"""Turns the engine's outputs of sequences into a user's `RequestOutput`s: detokenized, n answers (completions) joined.

`OutputProcessor` also names the sequences that must be aborted because a stop string ended them. Pooling requests have
their own state class (`pooling.py`). The module knows no engine, queue or event loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weft.engine.process.messages import EngineOutput, EngineRequest
from weft.errors import RequestError
from weft.frontend.answers import AnswerState, logprobs_dict
from weft.frontend.beams import BeamState
from weft.frontend.inputs import Prepared, PreparedBeams, PreparedPooling, PreparedRequest
from weft.frontend.pooling import PoolingState
from weft.outputs import CompletionOutput, Logprob, PoolingRequestOutput, RequestMetrics, RequestOutput
from weft.sampling_params import RequestOutputKind
from weft.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor


class RequestState:
    """One open request: unfinished, or finished in the current step."""

    def __init__(self, prepared: PreparedRequest, tokenizer: Tokenizer | None) -> None:
        self.request_id, self.params = prepared.request_id, prepared.params
        self.answers = [AnswerState(i, child.request_id, prepared.prompt_token_ids, prepared.params, tokenizer,
                                    len(child.prompt_token_ids))
                        for i, child in enumerate(prepared.children)]
        self._by_id = {answer.child_id: answer for answer in self.answers}
        self._prepared = prepared
        self._tokenizer = tokenizer if prepared.params.detokenize else None
        self._metrics = RequestMetrics(arrival_time=prepared.arrival_time)
        self._num_cached_tokens: int | None = None
        self._error: str | None = None
        self._prompt_logprobs: list[dict[int, Logprob] | None] | None = (
            None if prepared.params.prompt_logprobs is None else [None])
        self._is_prompt_sent = False

    @property
    def is_finished(self) -> bool:
        """True once all answers have ended."""
        return all(answer.is_finished for answer in self.answers)

    @property
    def unfinished_ids(self) -> list[str]:
        """The engine's request ids of the unfinished answers."""
        return [answer.child_id for answer in self.answers if not answer.is_finished]

    def push(self, output: EngineOutput, now: float) -> list[str]:
        """Add a step's output of one answer. Returns the ids of sequences that the engine must abort."""
        answer, metrics = self._by_id[output.request_id], self._metrics
        if metrics.first_scheduled_time is None:
            metrics.first_scheduled_time = output.first_scheduled_time
        if self._num_cached_tokens is None:
            self._num_cached_tokens = output.num_cached_tokens
        if output.new_token_ids:
            metrics.first_token_time = metrics.first_token_time or now
            metrics.last_token_time = now
        if self._prompt_logprobs is not None:
            self._prompt_logprobs += [logprobs_dict(p, self._tokenizer) for p in output.prompt_logprobs or ()]
        self._error = self._error or output.error
        before = answer.num_preemptions
        must_abort = answer.push(output)
        metrics.num_preemptions += answer.num_preemptions - before
        return [answer.child_id] if must_abort else []

    def finish(self, reason: str, now: float, error: str | None = None) -> None:
        """End all unfinished answers."""
        self._error = self._error or error
        for answer in self.answers:
            if not answer.is_finished:
                answer.finish(reason)
        self._metrics.finished_time = now

    def take_output(self, now: float) -> RequestOutput | None:
        """The output to send now, in the request's output kind; None if there is nothing to send."""
        if self.is_finished:
            self._metrics.finished_time = self._metrics.finished_time or now
        kind = self.params.output_kind
        if kind is RequestOutputKind.FINAL_ONLY or self.params.picks_best:
            return self.snapshot() if self.is_finished else None
        interval = self.params.stream_interval or 1
        due = [answer for answer in self.answers if answer.is_due(interval)]
        if not due:
            return None
        if kind is RequestOutputKind.CUMULATIVE:
            output = self.snapshot()
        else:
            output = self._output([answer.delta() for answer in due], has_prompt_logprobs=not self._is_prompt_sent)
        self._is_prompt_sent = True
        for answer in due:
            answer.mark_sent()
        return output

    def snapshot(self) -> RequestOutput:
        """The whole output up to now, regardless of the output kind. With `best_of` the n best answers."""
        if not self.params.picks_best:
            return self._output([answer.whole() for answer in self.answers], has_prompt_logprobs=True)
        ranked = sorted(self.answers, key=lambda answer: (answer.finish_reason == "error",
                                                          -(answer.cumulative_logprob or 0.0)))
        best = [replace(answer.whole(), index=i) for i, answer in enumerate(ranked[: self.params.n])]
        return self._output(best, has_prompt_logprobs=True)

    def _output(self, answers: list[CompletionOutput], *, has_prompt_logprobs: bool) -> RequestOutput:
        logprobs = self._prompt_logprobs if has_prompt_logprobs else None
        return RequestOutput(
            request_id=self.request_id, prompt=self._prepared.prompt, outputs=answers, finished=self.is_finished,
            prompt_token_ids=self._prepared.prompt_token_ids, prompt_logprobs=logprobs and list(logprobs),
            metrics=replace(self._metrics), num_cached_tokens=self._num_cached_tokens, error=self._error,
            num_prompt_embeds=self._prepared.num_prompt_embeds, encoder_prompt=self._prepared.encoder_prompt,
            encoder_prompt_token_ids=self._prepared.encoder_prompt_token_ids,
            extra_outputs=self._extra_of_prompt() if has_prompt_logprobs else None)

    def _extra_of_prompt(self) -> dict[str, Tensor] | None:
        """The first answer's rows of the prompt, which are those of all answers."""
        rows = self.answers[0].extra_rows
        return None if rows is None else rows.of_prompt()


State = RequestState | PoolingState | BeamState


@dataclass(frozen=True, slots=True)
class Update:
    """A changed request. output: what to send now; None for nothing."""

    state: State
    output: RequestOutput | PoolingRequestOutput | None


@dataclass(frozen=True, slots=True)
class Updates:
    """The changes of one step.

    abort_ids: the engine's ids of sequences that the engine must drop. requests: the next sequences of open requests.
    """

    updates: list[Update]
    abort_ids: list[str]
    requests: list[EngineRequest] = field(default_factory=list)


class OutputProcessor:
    """The open requests of one engine."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._states: dict[str, State] = {}
        self._owners: dict[str, State] = {}      # by the engine's request id, of unfinished sequences

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._states

    @property
    def request_ids(self) -> list[str]:
        """The ids of the open requests, oldest first."""
        return list(self._states)

    def add(self, prepared: Prepared) -> None:
        """Open a request. RequestError if its id, or the id of one of its answers, is in use."""
        ids = [child.request_id for child in prepared.children]
        if prepared.request_id in self._states or any(i in self._owners for i in ids):
            raise RequestError("request_id", prepared.request_id, expected="an id that no open request has")
        state = self._states[prepared.request_id] = self._open(prepared)
        self._owners |= dict.fromkeys(ids, state)

    def process(self, outputs: Iterable[EngineOutput]) -> Updates:
        """Add the outputs of one step. Ignores outputs of sequences that have already ended here."""
        now = time.monotonic()
        touched: dict[str, State] = {}
        abort_ids: list[str] = []
        for output in outputs:
            state = self._owners.get(output.request_id)
            if state is None:
                continue
            touched[state.request_id] = state
            aborted = state.push(output, now)
            abort_ids += aborted
            for ended_id in aborted if output.finish_reason is None else (*aborted, output.request_id):
                del self._owners[ended_id]
        requests: list[EngineRequest] = []
        for state in touched.values():
            if isinstance(state, BeamState):
                following = state.next_requests()
                self._owners |= dict.fromkeys((request.request_id for request in following), state)
                requests += following
        return Updates([self._update(state, now) for state in touched.values()], abort_ids, requests)

    def end(self, request_ids: Iterable[str], reason: str = "abort", error: str | None = None) -> Updates:
        """End open requests at once. Unknown ids are ignored."""
        now = time.monotonic()
        states = [self._states[request_id] for request_id in request_ids if request_id in self._states]
        abort_ids = [child_id for state in states for child_id in state.unfinished_ids]
        for state in states:
            state.finish(reason, now, error)
        for child_id in abort_ids:
            self._owners.pop(child_id, None)
        return Updates([self._update(state, now) for state in states], abort_ids)

    def state_of(self, child_id: str) -> State | None:
        """The open request of the engine's request id `child_id`; None if there is none."""
        return self._owners.get(child_id)

    def _open(self, prepared: Prepared) -> State:
        if isinstance(prepared, PreparedPooling):
            return PoolingState(prepared)
        if isinstance(prepared, PreparedBeams):
            return BeamState(prepared, self._tokenizer)
        return RequestState(prepared, self._tokenizer)

    def _update(self, state: State, now: float) -> Update:
        if state.is_finished:
            del self._states[state.request_id]
        return Update(state, state.take_output(now))
