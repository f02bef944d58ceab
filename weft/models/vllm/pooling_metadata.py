"""What a pooler of a programmed model is told of the prompts, under vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weft.pooling_params import PoolingParams


@dataclass(kw_only=True)
class PoolingCursor:
    """Where the prompts of a step begin and end among its rows. Each is computed whole in its step."""

    first_token_indices_gpu: Tensor
    last_token_indices_gpu: Tensor
    prompt_lens_cpu: Tensor
    num_scheduled_tokens_cpu: Tensor
    seq_lens_cpu: Tensor

    def is_partial_prefill(self) -> bool:
        """False: see above."""
        return False

    def is_finished(self) -> Tensor:
        """True for each prompt."""
        return torch.ones_like(self.prompt_lens_cpu, dtype=torch.bool)


@dataclass(kw_only=True)
class PoolingMetadata:
    """The prompts of a step. prompt_lens: [prompts]. prompt_token_ids: [prompts, longest], 0 behind shorter ones."""

    prompt_lens: Tensor
    prompt_token_ids: Tensor
    pooling_params: list[PoolingParams]

    @classmethod
    def of(cls, token_ids: list[list[int]], params: list[PoolingParams]) -> PoolingMetadata:
        """Of the prompts' token ids and parameters."""
        lens = [len(ids) for ids in token_ids]
        rows = torch.tensor([ids + [0] * (max(lens) - len(ids)) for ids in token_ids])
        return cls(prompt_lens=torch.tensor(lens), prompt_token_ids=rows, pooling_params=params)

    @property
    def tasks(self) -> list[str]:
        """The task of each prompt."""
        return [params.task or "" for params in self.pooling_params]

    @property
    def prompt_token_ids_cpu(self) -> Tensor:
        """prompt_token_ids."""
        return self.prompt_token_ids

    def get_prompt_token_ids(self) -> list[Tensor]:
        """The token ids of each prompt."""
        return [row[:length] for row, length in zip(self.prompt_token_ids, self.prompt_lens.tolist(), strict=True)]

    get_prompt_token_ids_cpu = get_prompt_token_ids

    def get_pooling_cursor(self) -> PoolingCursor:
        """The places of the prompts' rows."""
        ends = self.prompt_lens.cumsum(0)
        return PoolingCursor(first_token_indices_gpu=ends - self.prompt_lens, last_token_indices_gpu=ends - 1,
                             prompt_lens_cpu=self.prompt_lens, num_scheduled_tokens_cpu=self.prompt_lens,
                             seq_lens_cpu=self.prompt_lens)

    @property
    def pooling_cursor(self) -> PoolingCursor:
        """As `get_pooling_cursor`."""
        return self.get_pooling_cursor()

    def __getitem__(self, indices: slice) -> PoolingMetadata:
        return PoolingMetadata(prompt_lens=self.prompt_lens[indices], prompt_token_ids=self.prompt_token_ids[indices],
                               pooling_params=self.pooling_params[indices])


def get_prompt_lens(hidden_states: Tensor | list[Tensor], pooling_metadata: PoolingMetadata) -> Tensor:
    """[prompts]."""
    return pooling_metadata.prompt_lens
