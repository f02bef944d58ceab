"""The sampler: from logits to tokens and log-probabilities, each sequence by its own parameters.

Order of the steps: allowed ids, bad words, min_tokens, logit bias, penalties, temperature, min-p, top-k, top-p, draw.
Knows no scheduling; a sequence's answer depends on its own row, tokens and seed only.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weft.engine.messages import TokenLogprobs
from weft.engine.sequence import Sequence
from weft.ops.sampling import TopLogprobs, draw_tokens, filter_logits, top_logprobs, uniforms

_ROWS_AT_ONCE = 64             # rows of prompt log-probabilities held in float32 together


@dataclass(slots=True)
class Sampled:
    """One sequence's new token. error: why there is none."""

    token_id: int = -1
    logprobs: TokenLogprobs | None = None
    error: str | None = None


class Sampler:
    """logprobs_mode: the numbers reported, `raw_logprobs`, `raw_logits`, `processed_logprobs` or `processed_logits`."""

    def __init__(self, logprobs_mode: str) -> None:
        self._processed = logprobs_mode.startswith("processed")
        self._as_logits = logprobs_mode.endswith("logits")

    def sample(self, logits: Tensor, seqs: Seq[Sequence]) -> list[Sampled]:
        """A token for each sequence.

        Args:
            logits: [N, V] float32, one row a sequence; modified.
        """
        reported = [i for i, seq in enumerate(seqs) if seq.request.params.logprobs is not None]
        values = None if self._processed or not reported else self._values(logits[reported])
        for i, seq in enumerate(seqs):
            _process(logits[i], seq)
        drawn = [i for i, seq in enumerate(seqs) if not seq.request.params.is_greedy]
        if drawn:
            self._scale_and_filter(logits, seqs, drawn)
        tokens = logits.argmax(-1)
        if drawn:
            numbers = _numbers([seqs[i] for i in drawn])
            tokens[drawn] = draw_tokens(logits if len(drawn) == len(seqs) else logits[drawn], numbers)
        if self._processed and reported:
            values = self._values(logits[reported])
        return self._results(logits, tokens, seqs, reported, values)

    def prompt_logprobs(self, logits: Tensor, next_ids: Seq[int], num_best: int) -> list[TokenLogprobs]:
        """What is reported of prompt tokens: logits [n, V] of the positions before them, float32."""
        out: list[TokenLogprobs] = []
        for start in range(0, len(next_ids), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            values = self._values(logits[rows])
            wanted = values.shape[1] if num_best < 0 else min(num_best, values.shape[1])
            out += _token_logprobs(top_logprobs(values, torch.tensor(next_ids[rows]), wanted), next_ids[rows])
        return out

    def _values(self, logits: Tensor) -> Tensor:
        return logits.clone() if self._as_logits else torch.log_softmax(logits, dim=-1)

    def _scale_and_filter(self, logits: Tensor, seqs: Seq[Sequence], drawn: list[int]) -> None:
        params = [seqs[i].request.params for i in drawn]
        temperatures = torch.tensor([p.temperature for p in params])
        if len(drawn) == len(seqs):
            logits.div_(temperatures[:, None])
        else:
            logits[drawn] = logits[drawn] / temperatures[:, None]
        rows = [i for i, p in zip(drawn, params, strict=True) if p.top_k > 0 or p.top_p < 1 or p.min_p > 0]
        if rows:
            chosen = [seqs[i].request.params for i in rows]
            logits[rows] = filter_logits(
                logits[rows],
                min_p=torch.tensor([p.min_p for p in chosen], dtype=torch.float32),
                top_k=torch.tensor([max(p.top_k, 0) for p in chosen]),
                top_p=torch.tensor([p.top_p for p in chosen], dtype=torch.float32))

    def _results(self, logits: Tensor, tokens: Tensor, seqs: Seq[Sequence], reported: list[int],
                 values: Tensor | None) -> list[Sampled]:
        chosen = logits.gather(1, tokens[:, None])[:, 0]
        results = [Sampled(token) if finite else Sampled(error=_why_not(row))
                   for token, finite, row in zip(tokens.tolist(), torch.isfinite(chosen).tolist(), logits, strict=True)]
        for k in {seqs[i].request.params.logprobs for i in reported}:
            members = [j for j, i in enumerate(reported) if seqs[i].request.params.logprobs == k]
            ids = tokens[[reported[j] for j in members]]
            wanted = values.shape[1] if k < 0 else min(k, values.shape[1])
            entries = _token_logprobs(top_logprobs(values[members], ids, wanted), ids.tolist())
            for j, entry in zip(members, entries, strict=True):
                results[reported[j]].logprobs = entry
        return results


def _why_not(row: Tensor) -> str:
    if torch.isnan(row).any() or torch.isposinf(row).any():
        return "the model's logits for this request are not numbers (NaN or infinity)"
    return "no token is allowed: allowed_token_ids, bad_words and min_tokens together leave none"


def _numbers(seqs: Seq[Sequence]) -> Tensor:
    seeds = np.array([seq.request.params.seed % 2**64 for seq in seqs], dtype=np.uint64)
    return torch.from_numpy(uniforms(seeds, np.array([len(seq.token_ids) for seq in seqs], dtype=np.uint64)))


def _process(row: Tensor, seq: Sequence) -> None:
    """Masks, bias and penalties of one sequence on its logits [V], in place."""
    params = seq.request.params
    if params.allowed_token_ids is not None:
        allowed = torch.tensor(params.allowed_token_ids)
        kept = row[allowed]
        row.fill_(-torch.inf)[allowed] = kept
    for word in seq.request.bad_words_token_ids:
        if len(word) == 1 or seq.token_ids[seq.num_prompt_tokens :][-(len(word) - 1) :] == word[:-1]:
            row[word[-1]] = -torch.inf
    if params.min_tokens > seq.num_output_tokens:
        row[[*seq.request.eos_token_ids, *(params.stop_token_ids or ())]] = -torch.inf
    if params.logit_bias:
        row[list(params.logit_bias)] += torch.tensor(list(params.logit_bias.values()))
    if params.repetition_penalty != 1 or params.frequency_penalty or params.presence_penalty:
        _penalise(row, seq)


def _penalise(row: Tensor, seq: Sequence) -> None:
    params = seq.request.params
    if params.repetition_penalty != 1:
        seen = torch.tensor(seq.token_ids).unique()
        values = row[seen]
        row[seen] = torch.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
    if seq.num_output_tokens and (params.frequency_penalty or params.presence_penalty):
        ids, counts = torch.tensor(seq.token_ids[seq.num_prompt_tokens :]).unique(return_counts=True)
        row[ids] -= params.frequency_penalty * counts + params.presence_penalty


def _token_logprobs(top: TopLogprobs, chosen_ids: Seq[int]) -> list[TokenLogprobs]:
    out = []
    columns = (top.chosen, top.ranks, top.best_ids, top.best)
    rows = zip(chosen_ids, *(column.tolist() for column in columns), strict=True)
    for token, logprob, rank, ids, values in rows:
        others = [(i, v, r) for r, (i, v) in enumerate(zip(ids, values, strict=True), 1) if i != token]
        out.append(TokenLogprobs([token, *(i for i, _, _ in others)], [logprob, *(v for _, v, _ in others)],
                                 [rank, *(r for _, _, r in others)]))
    return out
