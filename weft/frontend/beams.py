"""`BeamState`: one open request with `use_beam_search`, from its first step to its one output.

It is the counterpart of `RequestState` in `outputs.py`. Each step of the search is one engine request of one token for
each live beam; the prefix cache makes the steps cheap, because a beam's tokens are cached from the step before.
`LLM.beam_search` asks for such requests and gives their outputs another shape.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec

from weft.engine.process.messages import EngineOutput, EngineRequest
from weft.errors import WeftError
from weft.frontend.inputs import PreparedBeams
from weft.outputs import BeamSearchOutput, BeamSearchSequence, CompletionOutput, RequestMetrics, RequestOutput
from weft.sampling_params import BeamSearchParams, SamplingParams
from weft.text.detokenizer import IncrementalDetokenizer
from weft.text.tokenizer import Tokenizer


class BeamState:
    """One open beam search: unfinished, or finished in the current step."""

    def __init__(self, prepared: PreparedBeams, tokenizer: Tokenizer | None) -> None:
        self.request_id, self.params = prepared.request_id, prepared.params
        self._prepared = prepared
        self._tokenizer = tokenizer if prepared.params.detokenize else None
        self._search, self._step = prepared.search, list(prepared.children)      # a request for each live beam
        self._answers: dict[str, EngineOutput] = {}                              # of this step, by the engine's id
        self._numbers = itertools.count()
        self._metrics = RequestMetrics(arrival_time=prepared.arrival_time)
        self._num_cached_tokens: int | None = None
        self._ended_by: str | None = None       # the finish reason of a search that was ended from outside
        self._error: str | None = None

    @property
    def is_finished(self) -> bool:
        """True once the search is over."""
        return self._ended_by is not None or not self._search.live

    @property
    def unfinished_ids(self) -> list[str]:
        """The engine's request ids of this step's unfinished sequences."""
        return [] if self.is_finished else [r.request_id for r in self._step if r.request_id not in self._answers]

    def push(self, output: EngineOutput, now: float) -> list[str]:
        """Add an output of one beam's step. Returns the ids of sequences that the engine must abort."""
        metrics = self._metrics
        metrics.first_scheduled_time = metrics.first_scheduled_time or output.first_scheduled_time
        if self._num_cached_tokens is None:
            self._num_cached_tokens = output.num_cached_tokens
        if output.finish_reason is None:
            return []
        self._answers[output.request_id] = output
        metrics.num_preemptions += output.num_preemptions
        if not output.logprobs:
            others = self.unfinished_ids
            self.finish("error", now, output.error)
            return others
        metrics.first_token_time, metrics.last_token_time = metrics.first_token_time or now, now
        return []

    def next_requests(self) -> list[EngineRequest]:
        """The requests of the search's next step, if this step is complete and not the last one."""
        if self.is_finished or len(self._answers) < len(self._step):
            return []
        found = [self._answers[request.request_id].logprobs for request in self._step]
        self._search.advance([logprobs[0] for logprobs in found if logprobs])
        self._answers.clear()
        self._step = [
            msgspec.structs.replace(self._prepared.children[0], prompt_token_ids=beam.tokens,
                                    request_id=f"{self.request_id}/beam-{next(self._numbers)}")
            for beam in self._search.live]
        return list(self._step)

    def finish(self, reason: str, now: float, error: str | None = None) -> None:
        """End the search. Its output then has the beams that were live."""
        if not self.is_finished:
            self._ended_by, self._error, self._metrics.finished_time = reason, error, now

    def take_output(self, now: float) -> RequestOutput | None:
        """The output, once the search is over; None before."""
        if not self.is_finished:
            return None
        self._metrics.finished_time = self._metrics.finished_time or now
        return self.snapshot()

    def snapshot(self) -> RequestOutput:
        """The best answers; of a search that was ended from outside, its live beams, which have that finish reason."""
        prepared = self._prepared
        beams = self._search.live if self._ended_by else self._search.best()
        return RequestOutput(
            request_id=self.request_id, prompt=prepared.prompt, prompt_token_ids=prepared.prompt_token_ids,
            outputs=[self._output(i, beam) for i, beam in enumerate(beams[: self.params.n])],
            finished=self.is_finished, metrics=replace(self._metrics), num_cached_tokens=self._num_cached_tokens,
            error=self._error, encoder_prompt=prepared.encoder_prompt,
            encoder_prompt_token_ids=prepared.encoder_prompt_token_ids)

    def _output(self, index: int, beam: BeamSearchSequence) -> CompletionOutput:
        token_ids = beam.tokens[len(self._prepared.prompt_token_ids):]
        is_eos_hidden = beam.finish_reason == "stop" and not self.params.include_stop_str_in_output
        return CompletionOutput(
            index=index, token_ids=token_ids, text=self._text(token_ids[:-1] if is_eos_hidden else token_ids),
            cumulative_logprob=beam.cum_logprob, finish_reason=self._ended_by or beam.finish_reason)

    def _text(self, token_ids: list[int]) -> str:
        if self._tokenizer is None:
            return ""
        detokenizer = IncrementalDetokenizer(
            self._tokenizer, self._prepared.prompt_token_ids, skip_special_tokens=self.params.skip_special_tokens,
            spaces_between_special_tokens=self.params.spaces_between_special_tokens)
        return detokenizer.push(token_ids) + detokenizer.finish()


def beam_request(params: BeamSearchParams) -> SamplingParams:
    """The parameters of a request that searches as `params` say."""
    return SamplingParams(
        n=params.beam_width, use_beam_search=True, early_stopping="never", length_penalty=params.length_penalty,
        max_tokens=params.max_tokens, temperature=params.temperature, ignore_eos=params.ignore_eos, detokenize=False)


def as_beams(output: RequestOutput, params: BeamSearchParams, tokenizer: Tokenizer | None) -> BeamSearchOutput:
    """The output of a `beam_request` as beams of prompt and answer together. WeftError if the engine failed."""
    if output.error is not None:
        raise WeftError(f"beam search: the engine failed a beam: {output.error}")
    beams = []
    for answer in output.outputs:
        is_ended = answer.finish_reason == "stop"
        eos = answer.token_ids[-1] if is_ended else None
        kept = answer.token_ids[:-1] if is_ended and not params.include_stop_str_in_output else answer.token_ids
        tokens = output.prompt_token_ids + kept
        text = tokenizer and tokenizer.decode(tokens, skip_special_tokens=params.skip_special_tokens)
        beams.append(BeamSearchSequence(tokens=tokens, text=text, cum_logprob=answer.cumulative_logprob or 0.0,
                                        finish_reason=answer.finish_reason, stop_reason=eos))
    return BeamSearchOutput(sequences=beams)
