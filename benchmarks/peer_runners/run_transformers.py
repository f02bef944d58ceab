"""Runner for Transformers: `generate` on a left-padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import transformers
from protocol import FirstTokens, Setup, Times, serve
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

PAD = 0


class Transformers:
    """A model in the dtype of its checkpoint."""

    version = f"Transformers {transformers.__version__}"

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.num_threads)
        self._model = AutoModelForCausalLM.from_pretrained(setup.model, dtype="auto").eval()

    @torch.inference_mode()
    def generate(self, prompts: Sequence[list[int]], output_len: int) -> Times:
        """As the protocol says."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        watch = FirstTokens(len(prompts))
        self._model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=output_len,
                             min_new_tokens=output_len, pad_token_id=PAD,
                             stopping_criteria=StoppingCriteriaList([CountTokens(watch, len(prompts))]))
        return watch.times()

    def close(self) -> None:
        """Nothing runs besides this process."""


class CountTokens(StoppingCriteria):
    """A stopping criterion that never stops: Transformers calls it after each token of the whole batch."""

    def __init__(self, watch: FirstTokens, num_seqs: int) -> None:
        self._watch, self._num_seqs = watch, num_seqs

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """One token more for each sequence."""
        for seq in range(self._num_seqs):
            self._watch.add(seq, 1)
        return torch.zeros(self._num_seqs, dtype=torch.bool, device=input_ids.device)


if __name__ == "__main__":
    serve(Transformers)
