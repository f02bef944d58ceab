"""The definition of sampling a step's rows, in torch: a request's changes to its row, the draw, log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from weft.ops.sampling.draw import draw_tokens, filter_logits
from weft.ops.sampling.logprobs import TopLogprobs, top_logprobs
from weft.ops.sampling.settings import EMPTY, NO_NUMBERS, Drawn, DrawSettings

_RARE = 8      # of a grammar's words of 32 tokens: if fewer than 1 / _RARE have a bit set, ids are faster than a mask


class TorchSampling:
    """Sampling from logits [N, V] float32. `row` is one of their rows, [V]. They are changed in place."""

    def allow_only(self, row: Tensor, ids: list[int]) -> None:
        """Mask every other token."""
        allowed = torch.tensor(ids)
        kept = row[allowed]
        row.fill_(-torch.inf)[allowed] = kept

    def allow_bits(self, logits: Tensor, bits: Mapping[int, np.ndarray]) -> None:
        """Mask the tokens whose bits are not set, in rows of logits [N, V].

        bits: {row: at least V bits, uint32}; token t is bit t % 32 of word t // 32.
        """
        # By numpy, in this thread: waking torch's threads for the work of a row takes longer.
        values = logits.numpy()
        few = {i: _set_ids(mask, values.shape[1]) for i, mask in bits.items()
               if np.count_nonzero(mask) * _RARE < len(mask)}
        kept = {i: values[i, ids] for i, ids in few.items()}
        if len(few) == len(logits):
            logits.fill_(-torch.inf)
        for i, ids in few.items():
            if len(few) < len(logits):
                values[i].fill(-np.inf)
            values[i, ids] = kept[i]
        for i, mask in bits.items():
            if i not in few:
                _forbid(values[i], ~mask)

    def forbid(self, row: Tensor, ids: list[int]) -> None:
        """Mask these tokens."""
        row[ids] = -torch.inf

    def add_bias(self, row: Tensor, biases: dict[int, float]) -> None:
        """Add a bias to tokens. biases: {token id: bias}."""
        row[list(biases)] += torch.tensor(list(biases.values()))

    def penalise(self, row: Tensor, token_ids: list[int], num_prompt_tokens: int, *, repetition: float,
                 frequency: float, presence: float) -> None:
        """Lower the logits of seen tokens.

        repetition: factor for tokens of prompt and output. frequency: subtracted for each occurrence in the output.
        presence: subtracted once for each token of the output.
        token_ids: the prompt's num_prompt_tokens tokens, then the output's.
        """
        if repetition != 1:
            seen = torch.tensor(token_ids).unique()
            values = row[seen]
            row[seen] = torch.where(values > 0, values / repetition, values * repetition)
        if len(token_ids) > num_prompt_tokens and (frequency or presence):
            ids, counts = torch.tensor(token_ids[num_prompt_tokens:]).unique(return_counts=True)
            row[ids] -= frequency * counts + presence

    def draw(self, logits: Tensor, settings: DrawSettings | None, *,
             keep: Literal["raw", "processed"] | None = None) -> Drawn:
        """A token for each row.

        Args:
            logits: [N, V] float32.
            settings: None takes the likeliest token of each row (greedy), the first of equal ones.
            keep: the content of `logits` afterwards: "raw" leaves it as it was, "processed" makes it the logits that
                were drawn from (divided by the temperature, -inf where filtered out); None allows anything.
        """
        rows = [] if settings is None else settings.temperatures.nonzero()[0].tolist()
        if rows and keep == "raw":
            logits = logits.clone()
        if rows and settings is not None:
            _scale_and_filter(logits, settings, rows)
        best = logits.amax(-1)
        states = torch.where(best == -torch.inf, EMPTY, torch.where(best.isfinite(), 0, NO_NUMBERS)).to(torch.uint8)
        tokens = logits.argmax(-1)
        if rows and settings is not None:
            numbers = torch.from_numpy(settings.numbers)
            tokens[rows] = draw_tokens(logits[rows], numbers[rows])
        return Drawn(tokens, states)

    def report(self, logits: Tensor, row_ids: list[int], chosen_ids: Tensor, num_best: int, *,
               as_logits: bool) -> TopLogprobs:
        """The logits or log-probabilities of the chosen tokens and of the `num_best` likeliest ones, for some rows.

        row_ids: R, rows of logits [N, V]. chosen_ids: [R] int64.
        """
        values = logits if len(row_ids) == len(logits) else logits[row_ids]
        if not as_logits:
            values = torch.log_softmax(values, dim=-1)
        return top_logprobs(values, chosen_ids, num_best)


def _forbid(row: np.ndarray, bits: np.ndarray) -> None:
    """Mask the tokens of a row whose bits are set."""
    if np.count_nonzero(bits) * _RARE < len(bits):
        row[_set_ids(bits, len(row))] = -np.inf
    else:
        where = np.unpackbits(bits.view(np.uint8), count=len(row), bitorder="little").view(np.bool_)
        np.copyto(row, np.float32(-np.inf), where=where)


def _set_ids(bits: np.ndarray, num_tokens: int) -> np.ndarray:
    """The token ids below num_tokens whose bits are set, in order. Fast if few words have one."""
    words = np.flatnonzero(bits)
    is_set = np.unpackbits(bits[words].view(np.uint8), bitorder="little").view(np.bool_)
    ids = (words[:, None] * 32 + np.arange(32)).ravel()[is_set]
    return ids[: np.searchsorted(ids, num_tokens)]


def _scale_and_filter(logits: Tensor, settings: DrawSettings, rows: list[int]) -> None:
    temperatures = torch.from_numpy(settings.temperatures)[:, None]
    if len(rows) == len(logits):
        logits.div_(temperatures)
    else:
        logits[rows] = logits[rows] / temperatures[rows]
    rows = [i for i in rows if settings.top_ks[i] > 0 or settings.top_ps[i] < 1 or settings.min_ps[i] > 0]
    if rows:
        logits[rows] = filter_logits(logits[rows], min_p=torch.from_numpy(settings.min_ps[rows]),
                                     top_k=torch.from_numpy(settings.top_ks[rows]),
                                     top_p=torch.from_numpy(settings.top_ps[rows]))
