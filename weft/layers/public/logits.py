"""`LogitsProcessor`: hidden states to logits by a head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weft.layers.public.embedding import VocabParallelEmbedding
from weft.layers.public.layer import PublicLayer, unsupported


class LogitsProcessor(PublicLayer):
    """logits = scale * cap(head(hidden)). Arguments as vLLM's class of this name.

    soft_cap: logits become soft_cap * tanh(logits / soft_cap), before the scale.
    """

    def __init__(self, vocab_size: int, org_vocab_size: int | None = None, scale: float = 1.0,
                 logits_as_input: bool = False, soft_cap: float | None = None) -> None:
        super().__init__()
        unsupported("LogitsProcessor", logits_as_input=logits_as_input)
        self.vocab_size, self.org_vocab_size = vocab_size, org_vocab_size or vocab_size
        self.scale, self.soft_cap = scale, soft_cap

    def forward(self, lm_head: VocabParallelEmbedding, hidden_states: Tensor, *rest: Any,
                embedding_bias: Tensor | None = None) -> Tensor:
        """[..., E] -> [..., org_vocab_size] float32.

        rest: a bias [V], or the sampling metadata that older models pass; the type tells which.
        """
        if not isinstance(lm_head, VocabParallelEmbedding):
            raise TypeError(f"LogitsProcessor: lm_head is {type(lm_head).__name__}, expected a ParallelLMHead or "
                            "VocabParallelEmbedding; call a module of your own by itself")
        bias = next((value for value in rest if isinstance(value, Tensor)), embedding_bias)
        logits = lm_head.logits(hidden_states)
        if bias is not None and bias is not lm_head._parameters.get("bias"):
            logits = logits + bias.float()
        if self.soft_cap is not None:
            logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
        logits = logits if self.scale == 1.0 else logits * self.scale
        return logits[..., : self.org_vocab_size]
