"""What the library's models have in common: the run through their layers, and the head with its loading.

A subclass makes the modules; the names of modules and methods are those of vLLM's classes, which model files rely on.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, ClassVar

from torch import Tensor, nn

from weft.layers.public import AutoWeightsLoader, IntermediateTensors, LogitsProcessor
from weft.parallel import get_pp_group


class DecoderStack(nn.Module):
    """Token table, layers that pass on a residual stream, final norm. A stage of a pipeline has a part of them.

    embed_tokens, layers (start_layer to end_layer - 1 are this stage's), norm: made by the subclass.
    """

    embed_tokens: nn.Module
    layers: nn.ModuleList
    norm: nn.Module
    start_layer: int
    end_layer: int

    def get_input_embeddings(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, E]. The older name, which subclasses may override too."""
        return self.embed_tokens(input_ids)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, E]."""
        return self.get_input_embeddings(input_ids)

    def entering(self, embeddings: Tensor) -> Tensor:
        """[T, E] -> [T, E]: what the first layer gets of the embeddings."""
        return embeddings

    def forward(self, input_ids: Tensor | None, positions: Tensor,
                intermediate_tensors: IntermediateTensors | None = None, inputs_embeds: Tensor | None = None,
                **unused: Any) -> Tensor | IntermediateTensors:
        """[T, E], or what the next stage of a pipeline takes."""
        residual: Any = None
        if get_pp_group().is_first_rank:
            if inputs_embeds is None:
                assert input_ids is not None, "a model is given token ids or embeddings"
                inputs_embeds = self.embed_input_ids(input_ids)
            hidden_states = self.entering(inputs_embeds)
        else:
            assert intermediate_tensors is not None, "a later stage is given what the stage before made"
            hidden_states, residual = intermediate_tensors["hidden_states"], intermediate_tensors["residual"]
        for layer in islice(self.layers, self.start_layer, self.end_layer):
            hidden_states, residual = layer(positions, hidden_states, residual)
        if not get_pp_group().is_last_rank:
            return IntermediateTensors({"hidden_states": hidden_states, "residual": residual})
        hidden_states, _ = self.norm(hidden_states, residual)
        return hidden_states


class HeadedModel(nn.Module):
    """A model with its head. below_head: the attribute that holds the model without it."""

    below_head: ClassVar[str] = "model"
    config: Any
    lm_head: nn.Module
    logits_processor: LogitsProcessor

    def get_input_embeddings(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, E]. The older name, which subclasses may override too."""
        return self._below().embed_input_ids(input_ids)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, E]."""
        return self.get_input_embeddings(input_ids)

    def forward(self, input_ids: Tensor | None, positions: Tensor,
                intermediate_tensors: IntermediateTensors | None = None,
                inputs_embeds: Tensor | None = None) -> Tensor | IntermediateTensors:
        """[T, E], or what the next stage of a pipeline takes."""
        return self._below()(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states: Tensor, *older: Any) -> Tensor | None:
        """[N, E] -> [N, V]. older: sampling metadata of older vLLM, not used."""
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Names of the parameters that were filled; a tied head's tensor is left out."""
        skipped = ["lm_head."] if self.config.tie_word_embeddings else None
        return AutoWeightsLoader(self, skip_prefixes=skipped).load_weights(weights)

    def _below(self) -> Any:
        return getattr(self, self.below_head)
