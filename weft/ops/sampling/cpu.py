"""Sampling by weft's native kernels (csrc/sampling.h, csrc/selection.h). Bound: memory, reading a row a few times.

Results are those of TorchSampling up to rounding: probabilities have a relative error of about 1e-6, so a draw or a
top-p filter can differ where its number lies that close to a token's edge. Equally likely tokens are reported in the
order of their ids. Ranks compare logits, not rounded log-probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from weft.ops.native import extension, kernels
from weft.ops.sampling.logprobs import TopLogprobs
from weft.ops.sampling.reference import TorchSampling
from weft.ops.sampling.settings import Drawn, DrawSettings

_MOST_SORTED = 1024            # most likeliest tokens that the kernel sorts; torch sorts more


class NativeSampling:
    """A kernel with the contract of TorchSampling.

    IndexError for a token id outside the vocabulary. ValueError for logits that are not float32 or have rows with gaps.
    """

    def __init__(self, isa: str) -> None:
        table = kernels(isa)
        self._draw, self._report, self._torch, self._lib = table.draw, table.report, TorchSampling(), extension()
        self._memory = torch.empty(0)
        self._counts = torch.zeros(0, dtype=torch.int32)

    def allow_only(self, row: Tensor, ids: list[int]) -> None:
        """As TorchSampling."""
        self._lib.allow_only(row.data_ptr(), row.shape[0], ids)

    def allow_bits(self, logits: Tensor, bits: Mapping[int, np.ndarray]) -> None:
        """As TorchSampling."""
        self._torch.allow_bits(logits, bits)

    def forbid(self, row: Tensor, ids: list[int]) -> None:
        """As TorchSampling."""
        self._lib.forbid(row.data_ptr(), row.shape[0], ids)

    def add_bias(self, row: Tensor, biases: dict[int, float]) -> None:
        """As TorchSampling."""
        self._lib.add_bias(row.data_ptr(), row.shape[0], biases)

    def penalise(self, row: Tensor, token_ids: list[int], num_prompt_tokens: int, *, repetition: float,
                 frequency: float, presence: float) -> None:
        """As TorchSampling."""
        if self._counts.shape[0] < row.shape[0]:
            self._counts = torch.zeros(row.shape[0], dtype=torch.int32)
        self._lib.penalise(row.data_ptr(), row.shape[0], token_ids, num_prompt_tokens, repetition, frequency, presence,
                           self._counts.data_ptr())

    def draw(self, logits: Tensor, settings: DrawSettings | None, *,
             keep: Literal["raw", "processed"] | None = None) -> Drawn:
        """As TorchSampling."""
        _check(logits)
        rows, vocab = logits.shape
        tokens, states = torch.zeros(rows, dtype=torch.int64), torch.empty(rows, dtype=torch.uint8)
        s = settings
        arrays = (0, 0, 0, 0, 0) if s is None else (
            s.temperatures.ctypes.data, s.min_ps.ctypes.data, s.top_ps.ctypes.data, s.top_ks.ctypes.data,
            s.numbers.ctypes.data)
        self._draw(logits.data_ptr(), rows, vocab, logits.stride(0), *arrays, keep == "processed", tokens.data_ptr(),
                   states.data_ptr(), self._memory_for(vocab))
        return Drawn(tokens, states)

    def report(self, logits: Tensor, row_ids: list[int], chosen_ids: Tensor, num_best: int, *,
               as_logits: bool) -> TopLogprobs:
        """As TorchSampling."""
        if num_best > _MOST_SORTED:
            return self._torch.report(logits, row_ids, chosen_ids, num_best, as_logits=as_logits)
        _check(logits)
        count, vocab = len(row_ids), logits.shape[1]
        row_numbers, chosen_ids = torch.tensor(row_ids, dtype=torch.int64), chosen_ids.contiguous()
        chosen, ranks = torch.empty(count), torch.empty(count, dtype=torch.int64)
        best_ids, best = torch.empty(count, num_best, dtype=torch.int64), torch.empty(count, num_best)
        self._lib.check_ids(chosen_ids.data_ptr(), count, vocab)
        self._report(logits.data_ptr(), vocab, logits.stride(0), row_numbers.data_ptr(), count, chosen_ids.data_ptr(),
                     num_best, as_logits, chosen.data_ptr(), ranks.data_ptr(), best_ids.data_ptr(), best.data_ptr(),
                     self._memory_for(vocab))
        return TopLogprobs(chosen, ranks, best_ids, best)

    def _memory_for(self, vocab: int) -> int:
        needed = self._lib.sampling_memory(vocab)
        if self._memory.shape[0] < needed:
            self._memory = torch.empty(needed)
        return self._memory.data_ptr()


def _check(logits: Tensor) -> None:
    if logits.dtype != torch.float32 or logits.stride(1) != 1:
        raise ValueError(f"logits: {logits.dtype} with strides {logits.stride()}, expected contiguous rows of float32")
