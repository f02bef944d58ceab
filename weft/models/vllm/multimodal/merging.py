"""How the rows of media items come into the embeddings of a step's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Nested = Tensor | Sequence["Nested"]


def flatten_bn(x: Any, *, concat: bool = False) -> Any:
    """The first two dimensions [B, N, …] of a tensor, or of a list of tensors, as one. concat: one tensor of all."""
    if isinstance(x, Tensor):
        return x.flatten(0, 1)
    return torch.cat(list(x)) if concat else [item for items in x for item in items]


def flat_embeddings(embeddings: Nested) -> Tensor:
    """[rows, E] of nested tensors, one after another."""
    if isinstance(embeddings, Tensor):
        return embeddings.flatten(0, -2)
    return torch.cat([flat_embeddings(item) for item in embeddings])


def merge_multimodal_embeddings(input_ids: Tensor, inputs_embeds: Tensor, multimodal_embeddings: Nested,
                                placeholder_token_id: int | list[int]) -> Tensor:
    """inputs_embeds [T, E] with the rows of placeholder tokens replaced, in place. Generations g0 and g1."""
    ids = [placeholder_token_id] if isinstance(placeholder_token_id, int) else placeholder_token_id
    is_multimodal = torch.isin(input_ids, torch.tensor(ids, device=input_ids.device))
    return merge_multimodal_embeddings_where(inputs_embeds, multimodal_embeddings, is_multimodal)


def merge_multimodal_embeddings_where(inputs_embeds: Tensor, multimodal_embeddings: Nested, is_multimodal: Tensor
                                      ) -> Tensor:
    """inputs_embeds [T, E] with the rows where is_multimodal [T] replaced, in place. ValueError for another number."""
    if len(multimodal_embeddings) == 0:
        return inputs_embeds
    rows = flat_embeddings(multimodal_embeddings)
    wanted = int(is_multimodal.sum())
    if rows.shape[0] != wanted:
        raise ValueError(f"{rows.shape[0]} rows of embeddings were given for {wanted} placeholder tokens")
    inputs_embeds[is_multimodal] = rows.to(inputs_embeds.dtype)
    return inputs_embeds


def merged_embeddings(look_up: Any, input_ids: Tensor, multimodal_embeddings: Any, is_multimodal: Tensor | None
                      ) -> Tensor:
    """[T, E]: rows by `look_up(input_ids)`, those of media items where is_multimodal [T].

    The ids there need not be in the vocabulary.
    """
    if multimodal_embeddings is None or is_multimodal is None or len(multimodal_embeddings) == 0:
        return look_up(input_ids)
    rows = look_up(input_ids.masked_fill(is_multimodal, 0)).clone()
    return merge_multimodal_embeddings_where(rows, multimodal_embeddings, is_multimodal)
