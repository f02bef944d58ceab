"""Turns the engine's outputs of sequences into a user's `RequestOutput`s: detokenized, n answers (completions) joined.

`OutputProcessor` also names the sequences that must be aborted because a stop string ended them. Pooling requests have
their own state class (`pooling.py`). The module knows no engine, queue or event loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weft.engine.process.messages import EngineOutput
from weft.errors import RequestError
from weft.frontend.answers import AnswerState, logprobs_dict
from weft.frontend.inputs import Prepared, PreparedPooling, PreparedRequest
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

    def push(self, answer: AnswerState, output: EngineOutput, now: float) -> bool:
        """Add a step's output of one answer. Returns True if the engine must abort the sequence."""
        metrics = self._metrics
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
        return must_abort

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
        if kind is RequestOutputKind.FINAL_ONLY:
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
        """The whole output up to now, regardless of the output kind."""
        return self._output([answer.whole() for answer in self.answers], has_prompt_logprobs=True)

    def _output(self, answers: list[CompletionOutput], *, has_prompt_logprobs: bool) -> RequestOutput:
        logprobs = self._prompt_logprobs if has_prompt_logprobs else None
        return RequestOutput(
            request_id=self.request_id, prompt=self._prepared.prompt, outputs=answers, finished=self.is_finished,
            prompt_token_ids=self._prepared.prompt_token_ids, prompt_logprobs=logprobs and list(logprobs),
            metrics=replace(self._metrics), num_cached_tokens=self._num_cached_tokens, error=self._error,
            num_prompt_embeds=self._prepared.num_prompt_embeds,
            extra_outputs=self._extra_of_prompt() if has_prompt_logprobs else None)

    def _extra_of_prompt(self) -> dict[str, Tensor] | None:
        """The first answer's rows of the prompt, which are those of all answers."""
        rows = self.answers[0].extra_rows
        return None if rows is None else rows.of_prompt()


@dataclass(frozen=True, slots=True)
class Update:
    """A changed request. output: what to send now; None for nothing."""

    state: RequestState | PoolingState
    output: RequestOutput | PoolingRequestOutput | None


@dataclass(frozen=True, slots=True)
class Updates:
    """The changes of one step. abort_ids: the engine's ids of sequences that the engine must drop."""

    updates: list[Update]
    abort_ids: list[str]


class OutputProcessor:
    """The open requests of one engine."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._states: dict[str, RequestState | PoolingState] = {}
        self._answers: dict[str, tuple[RequestState, AnswerState]] = {}      # by the engine's request id
        self._poolings: dict[str, PoolingState] = {}                         # by the engine's request id

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._states

    @property
    def request_ids(self) -> list[str]:
        """The ids of the open requests, oldest first."""
        return list(self._states)

    def add(self, prepared: Prepared) -> None:
        """Open a request. RequestError if its id, or the id of one of its answers, is in use."""
        ids = [child.request_id for child in prepared.children]
        if prepared.request_id in self._states or any(i in self._answers or i in self._poolings for i in ids):
            raise RequestError("request_id", prepared.request_id, expected="an id that no open request has")
        if isinstance(prepared, PreparedPooling):
            self._states[prepared.request_id] = self._poolings[prepared.request_id] = PoolingState(prepared)
            return
        state = self._states[prepared.request_id] = RequestState(prepared, self._tokenizer)
        self._answers |= {answer.child_id: (state, answer) for answer in state.answers}

    def process(self, outputs: Iterable[EngineOutput]) -> Updates:
        """Add the outputs of one step. Ignores outputs of sequences that have already ended here."""
        now = time.monotonic()
        touched: dict[str, RequestState | PoolingState] = {}
        abort_ids = []
        for output in outputs:
            if output.request_id in self._answers:
                state, answer = self._answers[output.request_id]
                if state.push(answer, output, now):
                    abort_ids.append(output.request_id)
                if answer.is_finished:
                    del self._answers[output.request_id]
                touched[state.request_id] = state
            elif output.request_id in self._poolings:
                pooling = touched[output.request_id] = self._poolings[output.request_id]
                pooling.push(output)
                if pooling.is_finished:
                    del self._poolings[output.request_id]
        return Updates([self._update(state, now) for state in touched.values()], abort_ids)

    def end(self, request_ids: Iterable[str], reason: str = "abort", error: str | None = None) -> Updates:
        """End open requests at once. Unknown ids are ignored."""
        now = time.monotonic()
        states = [self._states[request_id] for request_id in request_ids if request_id in self._states]
        abort_ids = [child_id for state in states for child_id in state.unfinished_ids]
        for state in states:
            state.finish(reason, now, error)
        for child_id in abort_ids:
            self._answers.pop(child_id, None)
            self._poolings.pop(child_id, None)
        return Updates([self._update(state, now) for state in states], abort_ids)

    def state_of(self, child_id: str) -> RequestState | PoolingState | None:
        """The open request of the engine's request id `child_id`; None if there is none."""
        if child_id in self._answers:
            return self._answers[child_id][0]
        return self._poolings.get(child_id)

    def _update(self, state: RequestState | PoolingState, now: float) -> Update:
        if state.is_finished:
            del self._states[state.request_id]
        return Update(state, state.take_output(now))
