"""`encode`: runs the encoder beside a decoder over the inputs of a step, all packed.

An encoder's own keys and values are read by the layer that has made them, and never later. So all the encoder's
layers write keys and values to the same tensors, which live for one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from weft.cache.masks import Bidirectional
from weft.layers.paged_attention import PagedAttention
from weft.layers.state import StateLayer
from weft.ops.attention import AttentionPlan, attention_plan
from weft.ops.attention.ranges import bidirectional
from weft.ops.step import RowEmbeds, Step


class Encodes(Protocol):
    """The stack of an encoder: its cache layers, and its final states [N, E] of a step."""

    def caches(self) -> tuple[PagedAttention | StateLayer, ...]: ...

    def __call__(self, step: Step, /) -> Tensor: ...


@torch.inference_mode()
def encode(encoder: Encodes, inputs: Iterable[Tensor]) -> Tensor:
    """[N, E] states of encoder inputs, one after another. Each token sees all of its own input.

    inputs: [n] int64 each; or [n, W] each, rows that are given in the place of ids.
    """
    given = list(inputs)
    lens = tuple(map(len, given))
    layers = [layer for layer in encoder.caches() if isinstance(layer, PagedAttention)]
    masks = list(dict.fromkeys(map(_mask, layers)))
    plans, num_blocks = _plans(lens, masks, layers[0].block_size)
    _bind(layers, masks, num_blocks)
    try:
        return encoder(Step(**_first(given), positions=torch.cat([torch.arange(n) for n in lens]),
                            query_lens=lens, caches=plans, is_eager=True)).clone()
    finally:
        for layer in layers:
            layer.bind_cache((torch.empty(0), torch.empty(0)), 0)


def _first(given: Sequence[Tensor]) -> dict[str, Any]:
    """The fields of a Step that the embedding reads."""
    packed = torch.cat(list(given))
    if packed.dim() == 1:
        return {"input_ids": packed}
    rows = torch.arange(len(packed))
    return {"input_ids": torch.zeros_like(rows), "embeds": RowEmbeds(rows=rows, values=packed)}


def _plans(lens: tuple[int, ...], masks: Sequence[Bidirectional],
           block_size: int) -> tuple[tuple[AttentionPlan, ...], int]:
    """(the plan of each mask for inputs of these lengths, the number of blocks). Each input has blocks of its own."""
    starts = list(accumulate((-(-n // block_size) for n in lens), initial=0))
    table = np.full((len(lens), -(-max(lens) // block_size)), -1, dtype=np.int32)
    for row, (first, end) in zip(table, pairwise(starts), strict=True):
        row[: end - first] = np.arange(first, end)
    slots = np.concatenate([first * block_size + np.arange(n) for first, n in zip(starts, lens, strict=False)])
    plans = tuple(attention_plan(query_lens=lens, seq_lens=lens, num_decodes=0, slots=slots, table=table,
                                 block_size=block_size, ranges=bidirectional(lens, lens, mask.radius))
                  for mask in masks)
    return plans, starts[-1]


def _bind(layers: Sequence[PagedAttention], masks: Sequence[Bidirectional], num_blocks: int) -> None:
    """Give the layers their tensors, the same to all layers of one shape; a mask's place is the number of its plan."""
    memory: dict[tuple[tuple[int, ...], ...], tuple[Tensor, ...]] = {}
    for layer in layers:
        shapes = layer.cache_shapes(num_blocks)
        if shapes not in memory:
            memory[shapes] = tuple(torch.empty(shape, dtype=layer.cache_dtype) for shape in shapes)
        layer.bind_cache(memory[shapes], masks.index(_mask(layer)))


def _mask(layer: PagedAttention) -> Bidirectional:
    """The mask of an encoder's layer."""
    mask = getattr(layer.need, "mask", None)
    assert isinstance(mask, Bidirectional), "every token of an encoder's input sees tokens on both sides"
    return mask
