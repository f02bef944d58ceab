"""The two ends of a model: token ids to hidden states, hidden states to logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.architectures.spec import EmbeddingSpec, HeadSpec
from weft.layers.linear import Linear
from weft.layers.norm import optional_norm
from weft.layers.placement import Layer, Placement


class Embedding(Layer):
    """An EmbeddingSpec with its tables."""

    def __init__(self, spec: EmbeddingSpec, hidden_size: int, *, place: Placement) -> None:
        super().__init__()
        self.spec = spec
        width = spec.embedding_dim or hidden_size
        self.tokens = self.parameter(spec.vocab_size, width, place=place)
        self.project = _projection(width, hidden_size, place)
        rows = spec.positions.num_positions + spec.positions.offset if spec.positions else 0
        self.positions = self.parameter(rows, hidden_size, place=place) if rows else None
        self.norm = optional_norm(spec.norm, hidden_size, place=place)

    def forward(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """input_ids, positions [T] -> [T, E]."""
        hidden = F.embedding(input_ids, self.tokens)
        if self.spec.scale != 1:
            hidden = hidden * torch.tensor(self.spec.scale, dtype=hidden.dtype, device=hidden.device)
        if self.project is not None:
            hidden = self.project(hidden)
        if self.positions is not None:
            hidden = hidden + F.embedding(positions + self.spec.positions.offset, self.positions)
        return hidden if self.norm is None else self.norm(hidden)

    def homes(self) -> dict[str, Tensor]:
        homes = {"tokens.weight": self.tokens.data}
        if self.positions is not None:
            homes["positions.weight"] = self.positions.data
        if self.project is not None:
            homes |= self.project.homes()
        if self.norm is not None:
            homes |= {f"norm.{name}": view for name, view in self.norm.homes().items()}
        return homes


class Head(Layer):
    """A HeadSpec. tied: shares the embedding's table, else has a matrix of its own."""

    def __init__(self, spec: HeadSpec, embedding: Embedding, hidden_size: int, *, tied: bool, place: Placement) -> None:
        super().__init__()
        vocab_size, width = embedding.tokens.shape
        self.spec, self.is_tied = spec, tied
        self.project = _projection(hidden_size, width, place)
        self.linear = Linear(width, {"": vocab_size}, bias=spec.bias, is_shared=tied,
                             place=place.without_memory() if tied else place)
        if tied:
            self.linear.weight = embedding.tokens
            if spec.bias:
                self.linear.bias = self.parameter(vocab_size, place=place)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[N, E] -> logits [N, V] in float32."""
        if self.project is not None:
            hidden_states = self.project(hidden_states)
        logits = self.linear(hidden_states).float()
        if self.spec.scale != 1:
            logits = logits.mul_(self.spec.scale)
        if self.spec.softcap is not None:
            logits = logits.div_(self.spec.softcap).tanh_().mul_(self.spec.softcap)
        return logits

    def homes(self) -> dict[str, Tensor]:
        homes = {name.lstrip("."): view for name, view in self.linear.homes().items()}
        if self.is_tied:
            del homes["weight"]
        if self.project is not None:
            homes |= self.project.homes()
        return homes


def _projection(from_width: int, to_width: int, place: Placement) -> Linear | None:
    """Between the table's width and the hidden size, where they differ."""
    return None if from_width == to_width else Linear(from_width, {"project": to_width}, bias=False, place=place)
