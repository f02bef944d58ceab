"""Beam search: finds the likeliest continuations of one prompt, one token at a time, from the engine's logprobs.

This module does the bookkeeping; `beams.py` asks the engine for the next tokens of the live beams.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from weft.engine.process.messages import TokenLogprobs
from weft.outputs import BeamSearchSequence
from weft.sampling_params import BeamSearchParams, SamplingParams


def num_candidates(params: BeamSearchParams) -> int:
    """The number of next tokens needed for each beam: twice the width, as some of them may be end-of-text tokens."""
    return 2 * params.beam_width


def step_params(params: BeamSearchParams, vocab_size: int) -> SamplingParams:
    """The engine's parameters for one step of one beam: one token, of which only the log-probabilities matter."""
    return SamplingParams(max_tokens=1, temperature=params.temperature, seed=0, ignore_eos=True, detokenize=False,
                          logprobs=min(num_candidates(params), vocab_size))


class BeamSearch:
    """The beams of one prompt.

    live: the beams to extend, best first; empty at the end of the search.
    max_tokens: the most tokens that a beam generates.
    early_stopping: when the search ends before that; see `SamplingParams`.
    """

    def __init__(self, prompt_token_ids: list[int], params: BeamSearchParams, *, eos_token_ids: Collection[int],
                 max_tokens: int, early_stopping: bool | str = "never") -> None:
        self._early_stopping = early_stopping
        self.live = [BeamSearchSequence(tokens=list(prompt_token_ids), text=None, cum_logprob=0.0)]
        self._params = params
        self._eos_token_ids = frozenset() if params.ignore_eos else frozenset(eos_token_ids)
        self._num_steps_left = max_tokens
        self._ended: list[BeamSearchSequence] = []

    def advance(self, next_tokens: Iterable[TokenLogprobs]) -> None:
        """Extend the live beams by their likeliest next tokens and keep the best `beam_width` unfinished sequences.

        next_tokens: log-probabilities for each live beam, in the order of `live`.
        """
        candidates = [
            (beam, token_id, beam.cum_logprob + logprob)
            for beam, given in zip(self.live, next_tokens, strict=True)
            for token_id, logprob, rank in zip(given.token_ids, given.logprobs, given.ranks, strict=True)
            if rank <= num_candidates(self._params)]
        candidates.sort(key=lambda candidate: -candidate[2])
        self.live = []
        for beam, token_id, cum_logprob in candidates:
            if token_id in self._eos_token_ids:
                self._end(beam, token_id, cum_logprob)
            elif len(self.live) < self._params.beam_width:
                tokens = [*beam.tokens, token_id]
                self.live.append(BeamSearchSequence(tokens=tokens, text=None, cum_logprob=cum_logprob))
        self._num_steps_left -= 1
        if self._num_steps_left == 0:
            for beam in self.live:
                beam.finish_reason = "length"
            self._ended += self.live
            self.live = []
        elif self._ends_early():
            self.live = []

    def best(self) -> list[BeamSearchSequence]:
        """The best `beam_width` finished sequences, best first."""
        return sorted(self._ended, key=self._score, reverse=True)[: self._params.beam_width]

    def _ends_early(self) -> bool:
        best = self.best()
        if self._early_stopping == "never" or len(best) < self._params.beam_width or not self.live:
            return False
        return self._early_stopping is True or self._score(best[-1]) >= self._score(self.live[0])

    def _end(self, beam: BeamSearchSequence, eos_token_id: int, cum_logprob: float) -> None:
        self._ended.append(BeamSearchSequence(tokens=[*beam.tokens, eos_token_id], text=None, cum_logprob=cum_logprob,
                                              finish_reason="stop", stop_reason=eos_token_id))

    def _score(self, beam: BeamSearchSequence) -> float:
        """Sum of log-probabilities / length ** length_penalty. The length includes the prompt (as in vLLM), but no eos.
        """
        length = len(beam.tokens) - (beam.finish_reason == "stop")
        return beam.cum_logprob / max(length, 1) ** self._params.length_penalty
