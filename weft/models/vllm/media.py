"""What models with images, audio or video call while they are imported or run: the registry of processors, and merging.

Requests with media are not built yet, so processors are kept and never made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T", bound=type)
Nested = Tensor | Sequence["Nested"]


class ImageSize(NamedTuple):
    """In pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class ProcessorFactories:
    """The classes with which a model's media would be processed."""

    processor: Any
    info: Any
    dummy_inputs: Any


class MultiModalRegistry:
    """Keeps a model's processor classes at the model."""

    def register_processor(self, processor: Any, *, info: Any = None, dummy_inputs: Any = None) -> Callable[[T], T]:
        """Class decorator: the model's media would be processed by these classes."""
        def mark(cls: T) -> T:
            cls._processor_factory = ProcessorFactories(processor, info, dummy_inputs)      # pyright: ignore
            return cls

        return mark

    def _older(self, *args: Any, **kwargs: Any) -> Callable[[T], T]:
        """Class decorator of generation g0: nothing calls what it is given, because media are not built."""
        return lambda cls: cls

    register_image_input_mapper = register_input_mapper = register_max_image_tokens = _older
    register_max_multimodal_tokens = _older


class InputRegistry(MultiModalRegistry):
    """The registry of generation g0, for dummy data and input processors."""

    register_dummy_data = register_input_processor = register_dummy_encoder_data = MultiModalRegistry._older


MULTIMODAL_REGISTRY = MultiModalRegistry()
INPUT_REGISTRY = InputRegistry()


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
