"""Positions that enter attention by the distance of two tokens: trained tables, and what kernels take of them.

A table is a layer of its own, because all blocks of a model may share it (`Stack.relative`). What kernels take is made
once, when the weights and the longest sequence are known (`SelfAttention.prepare`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weft.architectures.spec import Disentangled, RelativeBias
from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer
from weft.layers.norm import optional_norm
from weft.layers.shard import Span


class BiasTable(Layer):
    """A RelativeBias's numbers, [num_buckets, H]. heads: those that are built."""

    def __init__(self, spec: RelativeBias, heads: Span, *, context: LayerContext) -> None:
        super().__init__()
        self.spec, self.heads = spec, heads
        self.weight = self.parameter(spec.num_buckets, len(heads), context=context)

    def own_homes(self) -> dict[str, Home]:
        """As Layer: the columns of these heads."""
        return {"weight": Home(self.weight.data, self, "weight", columns=self.heads)}

    def by_distance(self) -> Tensor:
        """[H, 2M + 1] float32, M = max_distance: the bias at each distance, as AttentionParams has it."""
        most = self.spec.max_distance
        return self.weight.data.float()[_bias_buckets(self.spec, torch.arange(-most, most + 1))].t().contiguous()


class VectorTable(Layer):
    """A Disentangled's vectors, [num_rows, E], and their norm."""

    def __init__(self, spec: Disentangled, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        self.spec = spec
        self.weight = self.parameter(spec.num_rows, hidden_size, context=context)
        self.norm = optional_norm(spec.norm, hidden_size, context=context)

    def vectors(self) -> Tensor:
        """[num_rows, E], normed."""
        return self.weight.data if self.norm is None else self.norm(self.weight.data)


def shared_table(positions: object, hidden_size: int, heads: Span, *,
                 context: LayerContext) -> BiasTable | VectorTable | None:
    """The table that all blocks with these positions share; None where each has its own, or none."""
    if isinstance(positions, Disentangled):
        return VectorTable(positions, hidden_size, context=context)
    if isinstance(positions, RelativeBias) and positions.is_shared:
        return BiasTable(positions, heads, context=context)
    return None


def alibi_by_distance(slopes: Tensor, scale: float, max_model_len: int) -> Tensor:
    """[H, 2M + 1] float32: ALiBi's bias where the distance counts on both sides. slopes: [H]."""
    most = max_model_len - 1
    return -(slopes[:, None] * scale * torch.arange(-most, most + 1).abs()).contiguous()


def vector_rows(spec: Disentangled) -> Tensor:
    """[2M + 1] int64: the row of a Disentangled's table for a key d tokens after the query, d from -M to M."""
    most, span = spec.max_distance + 1, spec.num_rows // 2
    ahead = -torch.arange(-most, most + 1)                     # tokens by which the query is after the key
    if spec.num_buckets is not None:
        ahead = _widening(ahead, spec.num_buckets // 2, spec.max_distance)
    return (ahead + span).clamp(0, 2 * span - 1)


def _bias_buckets(spec: RelativeBias, distances: Tensor) -> Tensor:
    """The bucket of each distance, key - query, int64."""
    count = spec.num_buckets if spec.is_causal else spec.num_buckets // 2               # of the keys before the query
    exact, far = count // 2, (-distances).clamp_min(0) if spec.is_causal else distances.abs()
    widths = torch.log(far.float() / exact) / math.log(spec.max_distance / exact) * (count - exact)
    bucket = torch.where(far < exact, far, (exact + widths.clamp_min(0).long()).clamp(max=count - 1))
    return bucket if spec.is_causal else bucket + count * (distances > 0)


def _widening(distances: Tensor, exact: int, farthest: int) -> Tensor:
    """Distances up to `exact` as they are; beyond, buckets of growing width, so that `farthest` - 1 is 2 exact - 1."""
    far = distances.abs().clamp_min(exact)
    widths = torch.log(far / exact) / torch.log(torch.tensor((farthest - 1) / exact)) * (exact - 1)
    return torch.where(distances.abs() <= exact, distances, (torch.ceil(widths).long() + exact) * distances.sign())
