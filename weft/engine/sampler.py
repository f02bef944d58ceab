"""The sampler: from logits to tokens and log-probabilities, each row with its sequence's parameters.

Order of the steps: a forced token, or else the grammar's mask, allowed ids, bad words, min_tokens and logit bias; then
logits processors, penalties, the filters of `shaping.py`, temperature (with the processors that leave the likeliest
token alone), min-p, top-k, top-p, draw.
A row's token depends only on the row's logits, the tokens before it, the parameters and the seed, never on the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weft.engine.constraints import RowMasks, has_id
from weft.engine.logits_processors.batch import BatchProcessors
from weft.engine.logits_processors.interface import bound, put_row
from weft.engine.process.messages import TokenLogprobs
from weft.engine.sample_row import SampleRow
from weft.engine.shaping import Shaped, learn, penalise_repetition, shape
from weft.ops.sampling import (
    EMPTY,
    GOOD,
    NO_NUMBERS,
    DrawSettings,
    SamplingCase,
    TopLogprobs,
    choose_sampling,
    uniforms,
)
from weft.sampling_params import SamplingParams

_ROWS_AT_ONCE = 64             # prompt_logprobs: rows in float32 at a time


@dataclass(slots=True)
class Sampled:
    """One row's new token. error: why there is none. is_dead_end: the request's parameters forbid every token."""

    token_id: int = -1
    logprobs: TokenLogprobs | None = None
    error: str | None = None
    is_dead_end: bool = False


class Sampler:
    """Samples rows of logits and reports log-probabilities.

    Args:
        logprobs_mode: the reported numbers: `raw_logprobs`, `raw_logits`, `processed_logprobs` or `processed_logits`.
        isa: ISA level of the native kernels, or "reference".
        processors: logits processors of all requests; then there is one row for each sequence.

    Attributes:
        choice: the chosen sampling kernel.
    """

    def __init__(self, logprobs_mode: str, isa: str = "reference", processors: BatchProcessors | None = None) -> None:
        self._processed = logprobs_mode.startswith("processed")
        self._as_logits = logprobs_mode.endswith("logits")
        self.choice = choose_sampling(SamplingCase(device="cpu", isa=isa))
        self._sampling = self.choice.prepare()
        self._processors = processors

    @property
    def has_processors(self) -> bool:
        """True if logits processors of the engine see every row."""
        return self._processors is not None

    def sample(self, logits: Tensor, rows: Seq[SampleRow], masks: RowMasks | None = None) -> list[Sampled]:
        """Draws one token for each row.

        Args:
            logits: [N, V] float32, one row for each of `rows`; modified in place.
            masks: the allowed tokens of rows with a grammar.
        """
        bits = {} if masks is None else masks.bits
        edited = [i for i, row in enumerate(rows) if self._processors is not None or i in bits or _has_edits(row)]
        reported = [i for i, row in enumerate(rows) if row.params.logprobs is not None]
        keep, source, places = None, logits, reported                    # logprobs come from rows `places` of `source`
        if reported:
            keep = "processed" if self._processed else "raw"
            if not self._processed and not set(reported).isdisjoint(edited):
                keep, source, places = None, logits[reported], list(range(len(reported)))
        failed, shaped = self._edit(logits, rows, edited, bits) if edited else ({}, Shaped())
        drawn = self._sampling.draw(logits, _settings(rows, shaped.temperatures), keep=keep)
        learn(rows, drawn.tokens, shaped)
        results = [Sampled(token) if state == GOOD else Sampled(error=_WHY_NOT[state], is_dead_end=state == EMPTY)
                   for token, state in zip(drawn.tokens.tolist(), drawn.states.tolist(), strict=True)]
        for i, why in failed.items():
            results[i] = Sampled(error=why)
        for i, why in {} if masks is None else masks.failed.items():      # the fault is the request's grammar
            results[i] = Sampled(error=why, is_dead_end=True)
        for i in () if masks is None else masks.ended:
            results[i] = Sampled(error="", is_dead_end=True)
        for i, place in zip(reported, places, strict=True):
            if (ids := rows[i].params.logprob_token_ids) and results[i].error is None:
                results[i].logprobs = self._report_given(source, place, [results[i].token_id, *ids])
        for k in {k for i in reported if (k := rows[i].params.logprobs) is not None}:
            members = [(i, place) for i, place in zip(reported, places, strict=True)
                       if rows[i].params.logprobs == k and results[i].logprobs is None and results[i].error is None]
            if members:
                numbers, sources = zip(*members, strict=True)
                entries = self._report(source, list(sources), drawn.tokens[list(numbers)], k)
                for i, entry in zip(numbers, entries, strict=True):
                    results[i].logprobs = entry
        return results

    def prompt_logprobs(self, logits: Tensor, next_ids: Seq[int], num_best: int) -> list[TokenLogprobs]:
        """Log-probabilities of prompt tokens.

        Args:
            logits: [n, V] float32, of the positions before the tokens.
            next_ids: n token ids. num_best: likeliest tokens to report for each position; -1 for the whole vocabulary.
        """
        out: list[TokenLogprobs] = []
        for start in range(0, len(next_ids), _ROWS_AT_ONCE):
            part = logits[start : start + _ROWS_AT_ONCE]
            chosen = torch.tensor(next_ids[start : start + _ROWS_AT_ONCE])
            out += self._report(part, list(range(len(part))), chosen, num_best)
        return out

    def _report(self, logits: Tensor, rows: list[int], chosen: Tensor, num_best: int) -> list[TokenLogprobs]:
        """Log-probabilities of `chosen` and of the `num_best` likeliest tokens, in the given rows of `logits` [N, V].

        num_best: -1 for the whole vocabulary.
        """
        vocab = logits.shape[1]
        top = self._sampling.report(logits, rows, chosen, vocab if num_best < 0 else min(num_best, vocab),
                                    as_logits=self._as_logits)
        return _token_logprobs(top, chosen.tolist())

    def _report_given(self, logits: Tensor, row: int, token_ids: list[int]) -> TokenLogprobs:
        """Log-probabilities and ranks of the given tokens, each once, in one row of `logits` [N, V]."""
        token_ids = list(dict.fromkeys(token_ids))
        top = self._sampling.report(logits, [row] * len(token_ids), torch.tensor(token_ids), 0,
                                    as_logits=self._as_logits)
        return TokenLogprobs(token_ids, top.chosen.tolist(), top.ranks.tolist())

    def check_params(self, params: SamplingParams) -> None:
        """RequestError for parameters that a logits processor refuses."""
        if self._processors is not None:
            self._processors.check(params)

    def _edit(self, logits: Tensor, rows: Seq[SampleRow], edited: Seq[int],
              bits: Mapping[int, np.ndarray]) -> tuple[dict[int, str], Shaped]:
        """Applies masks, bias, logits processors, penalties and filters to rows of logits [N, V], in place.

        Returns {row: why its request ends} where a processor failed, and what the filters found.
        """
        for i, mask in bits.items():
            if (forced := rows[i].forced_id) is not None and not has_id(mask, forced):
                rows[i].forced_id = None      # the end of reasoning, within a character: a later token is forced
        if masks := {i: mask for i, mask in bits.items() if rows[i].forced_id is None}:
            self._sampling.allow_bits(logits, masks)
        for i in edited:
            self._mask(logits[i], rows[i])
        failed = _run_functions(logits, rows, edited)
        seqs = [row.seq for row in rows]
        if self._processors is not None:
            self._processors.begin(seqs)
            failed = self._processors.apply(logits, seqs, None) | failed
        for i in edited:
            self._penalise(logits[i], rows[i])
        if self._processors is not None:
            temperatures = [0.0 if row.params.is_greedy else row.params.temperature for row in rows]
            failed = self._processors.apply(logits, seqs, temperatures) | failed
        return failed, shape(logits, rows, edited)

    def _mask(self, logits: Tensor, row: SampleRow) -> None:
        """Applies masks and bias to one row of logits [V], in place, after its grammar's mask."""
        params, request, sampling = row.params, row.seq.request, self._sampling
        if row.forced_id is not None:
            sampling.allow_only(logits, [row.forced_id])
            return
        if params.allowed_token_ids is not None:
            sampling.allow_only(logits, params.allowed_token_ids)
        token_ids = row.token_ids
        bad = [word[-1] for word in request.bad_words_token_ids
               if len(word) <= row.num_output_tokens + 1 and token_ids[len(token_ids) - len(word) + 1 :] == word[:-1]]
        if params.min_tokens > row.num_output_tokens:
            bad += [*request.eos_token_ids, *(params.stop_token_ids or ())]
        if row.num_output_tokens == 0:
            bad += request.not_first_token_ids
        if bad:
            sampling.forbid(logits, bad)
        if params.logit_bias:
            sampling.add_bias(logits, params.logit_bias)

    def _penalise(self, logits: Tensor, row: SampleRow) -> None:
        """Applies penalties to one row of logits [V], in place."""
        params, request, sampling, token_ids = row.params, row.seq.request, self._sampling, row.token_ids
        if _has_penalties(params):
            has_ids = request.prompt_embeds is None      # with prompt_embeds only the output's ids are known
            first = row.seq.num_prompt_tokens
            sampling.penalise(logits, token_ids if has_ids else token_ids[first:], first if has_ids else 0,
                              repetition=params.repetition_penalty,
                              frequency=params.frequency_penalty, presence=params.presence_penalty)
        if params.dry_multiplier and row.forced_id is None:
            penalise_repetition(logits, row)


_WHY_NOT = {
    NO_NUMBERS: "the model's logits for this request are not numbers (NaN or infinity)",
    EMPTY: "no token is allowed: allowed_token_ids, bad_words, min_tokens, structured_outputs and logits processors "
           "together leave none",
}


def _has_edits(row: SampleRow) -> bool:
    params, request = row.params, row.seq.request
    return bool(params.allowed_token_ids is not None or request.bad_words_token_ids or params.logit_bias
                or (request.not_first_token_ids and row.num_output_tokens == 0)
                or params.min_tokens > row.num_output_tokens or params.logits_processors or _has_penalties(params)
                or row.forced_id is not None or params.has_filters or params.dry_multiplier)


def _run_functions(logits: Tensor, rows: Seq[SampleRow], edited: Seq[int]) -> dict[int, str]:
    """Run the requests' own logits processors on their rows of logits [N, V]; {row: what went wrong}."""
    failed = {}
    for i in edited:
        row = rows[i]
        for function in row.params.logits_processors or ():
            first, token_ids = row.seq.num_prompt_tokens, row.token_ids
            prompt = token_ids[:first] if row.seq.request.prompt_embeds is None else None
            try:
                put_row(logits, i, bound(function, prompt, token_ids[first:])(logits[i]))
            except (Exception, SystemExit) as error:      # of a user's code: it ends this request
                failed[i] = f"logits_processors: {type(error).__name__}: {error}"
                break
    return failed


def _has_penalties(params: SamplingParams) -> bool:
    return params.repetition_penalty != 1 or params.frequency_penalty != 0 or params.presence_penalty != 0


def _settings(rows: Seq[SampleRow], own: Mapping[int, float]) -> DrawSettings | None:
    """The draw settings of all rows, as arrays [N]; None if every row is greedy.

    own: {row: the temperature in place of its request's}.
    """
    params = [row.params for row in rows]
    if all(p.is_greedy for p in params):
        return None
    seeds = np.array([0 if p.seed is None else p.seed % 2**64 for p in params], dtype=np.uint64)
    return DrawSettings(
        temperatures=np.array([own.get(i, 0 if p.is_greedy else p.temperature) for i, p in enumerate(params)],
                              dtype=np.float32),
        min_ps=np.array([p.min_p for p in params], dtype=np.float32),
        top_ps=np.array([p.top_p for p in params], dtype=np.float32),
        top_ks=np.array([p.top_k for p in params], dtype=np.int64),
        numbers=uniforms(seeds, np.array([row.num_tokens for row in rows], dtype=np.uint64)))


def _token_logprobs(top: TopLogprobs, chosen_ids: Seq[int]) -> list[TokenLogprobs]:
    out = []
    columns = (top.chosen, top.ranks, top.best_ids, top.best)
    rows = zip(chosen_ids, *(column.tolist() for column in columns), strict=True)
    for token, logprob, rank, ids, values in rows:
        others = [(i, v, r) for r, (i, v) in enumerate(zip(ids, values, strict=True), 1) if i != token]
        out.append(TokenLogprobs([token, *(i for i, _, _ in others)], [logprob, *(v for _, v, _ in others)],
                                 [rank, *(r for _, _, r in others)]))
    return out
