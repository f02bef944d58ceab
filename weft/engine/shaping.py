"""The filters of `SamplingExtras`, applied to the rows of a step that ask for them, and mirostat's learning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from weft.engine.repetition import repeated_lengths
from weft.engine.sample_row import SampleRow
from weft.ops.sampling import uniforms
from weft.ops.sampling.filters import dynamic_temperature, keep_sigma, keep_surprise, keep_typical, leave_out_top
from weft.sampling_params import GREEDY_TEMPERATURE, MIN_TEMPERATURE, SamplingParams

_LARGEST_PENALTY = 1e6
_XTC_STREAM = np.uint64(0x5DEECE66D)      # sets XTC's random numbers apart from those of the draw


@dataclass(slots=True)
class Shaped:
    """What the filters found. temperatures: {row: the temperature in place of the request's}. surprises: {row: log2 of
    the probabilities [V] from which mirostat draws}.
    """

    temperatures: dict[int, float] = field(default_factory=dict)
    surprises: dict[int, Tensor] = field(default_factory=dict)


def shape(logits: Tensor, rows: Seq[SampleRow], edited: Iterable[int]) -> Shaped:
    """Applies the filters to rows of logits [N, V], in place. edited: rows that may have some."""
    shaped = Shaped()
    for i in edited:
        row, params = rows[i], rows[i].params
        if params.is_greedy or not params.has_filters or row.forced_id is not None or not _can_draw(logits[i]):
            continue
        if params.mirostat:
            scaled = logits[i] / params.temperature
            shaped.surprises[i] = keep_surprise(scaled, row.seq.mirostat_mu, version=params.mirostat)
            logits[i].masked_fill_(scaled.isneginf(), -np.inf)
            continue
        if params.top_n_sigma:
            keep_sigma(logits[i], params.top_n_sigma)
        if params.typical_p < 1:
            keep_typical(logits[i], params.typical_p)
        if params.xtc_probability and _chance(row) < params.xtc_probability:
            leave_out_top(logits[i], params.xtc_threshold)
        if params.dynatemp_range:
            found = dynamic_temperature(logits[i], params.temperature, params.dynatemp_range, params.dynatemp_exponent)
            shaped.temperatures[i] = 0.0 if found < GREEDY_TEMPERATURE else max(found, MIN_TEMPERATURE)
    return shaped


def learn(rows: Seq[SampleRow], tokens: Seq[int], shaped: Shaped) -> None:
    """Mirostat: move each sequence's bound by the difference of its token's surprise, in bits, from tau."""
    for i, logs in shaped.surprises.items():
        params, seq = rows[i].params, rows[i].seq
        seq.mirostat_mu -= params.mirostat_eta * (-float(logs[tokens[i]]) - params.mirostat_tau)


def penalise_repetition(row: Tensor, sample: SampleRow) -> None:
    """DRY: lower the logits [V] of tokens that would go on repeating an earlier passage, in place."""
    params = sample.params
    looked_at = sample.token_ids if params.dry_penalty_last_n < 0 else sample.token_ids[
        max(0, len(sample.token_ids) - params.dry_penalty_last_n) :]
    lengths = repeated_lengths(looked_at, frozenset(sample.seq.request.dry_breaker_ids))
    for token, length in lengths.items():
        if length >= params.dry_allowed_length:
            row[token] -= _dry_penalty(params, length - params.dry_allowed_length)


def _dry_penalty(params: SamplingParams, num_beyond: int) -> float:
    """multiplier * base ** num_beyond, up to a size that no logit outweighs: the power may be no float."""
    growth = num_beyond * math.log(params.dry_base)
    return min(params.dry_multiplier * math.exp(min(growth, 30.0)), _LARGEST_PENALTY)


def _chance(row: SampleRow) -> float:
    """A number in [0, 1) that depends on the request's seed and the token's place only."""
    seed = np.array([(row.params.seed or 0) % 2**64], dtype=np.uint64) ^ _XTC_STREAM
    return float(uniforms(seed, np.array([row.num_tokens], dtype=np.uint64))[0])


def _can_draw(row: Tensor) -> bool:
    return bool(row.amax().isfinite())
