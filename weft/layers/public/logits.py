"""`LogitsProcessor`: hidden states to logits by a head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weft.layers.public.embedding import VocabParallelEmbedding
from weft.layers.public.layer import PublicLayer
from weft.layers.public.options import check_unknown


class LogitsProcessor(PublicLayer):
    """logits = scale * cap(head(hidden)). Arguments as vLLM's class of this name.

    soft_cap: logits become soft_cap * tanh(logits / soft_cap), before the scale. logits_as_input: a call is given
    logits in place of hidden states. Every process of the tensor group gets all logits.
    """

    def __init__(self, vocab_size: int, org_vocab_size: int | None = None, scale: float = 1.0,
                 logits_as_input: bool = False, soft_cap: float | None = None,
                 **unknown: Any) -> None:
        super().__init__()
        check_unknown("LogitsProcessor", unknown)
        self.logits_as_input = logits_as_input
        self.vocab_size, self.org_vocab_size = vocab_size, org_vocab_size or vocab_size
        self.scale, self.soft_cap = scale, soft_cap

    def forward(self, lm_head: VocabParallelEmbedding, hidden_states: Tensor, *rest: Any,
                embedding_bias: Tensor | None = None) -> Tensor:
        """[..., E] -> [..., org_vocab_size] float32.

        rest: a bias [V], or the sampling metadata that older models pass; the type tells which.
        """
        if not self.logits_as_input and not isinstance(lm_head, VocabParallelEmbedding):
            raise TypeError(f"LogitsProcessor: lm_head is {type(lm_head).__name__}, expected a ParallelLMHead or "
                            "VocabParallelEmbedding; call a module of your own by itself")
        bias = next((value for value in rest if isinstance(value, Tensor)), embedding_bias)
        logits = hidden_states.float() if self.logits_as_input else self._logits(lm_head, hidden_states, bias)
        if self.soft_cap is not None:
            logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
        logits = logits if self.scale == 1.0 else logits * self.scale
        return logits[..., : self.org_vocab_size]

    def _logits(self, lm_head: VocabParallelEmbedding, hidden_states: Tensor, bias: Tensor | None) -> Tensor:
        """[..., V] of all processes. bias: of a process's rows or of all; the head's own is added already."""
        logits = lm_head.logits(hidden_states)
        if bias is lm_head._parameters.get("bias"):
            bias = None
        if bias is not None and bias.shape[-1] == logits.shape[-1]:
            logits, bias = logits + bias.float(), None
        logits = lm_head.gathered(logits)
        return logits if bias is None else logits + bias.float()
