"""`OwnCaches`: a model of Transformers as it is, sequence by sequence, each with a cache object of the model's kind.

Slower than the paged cache, and right for any model: it is called as Transformers' `generate` calls it. A chunk that
such a model cannot continue from its cache is computed again from the sequence's first token.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from weft.models.transformers.outline import first_states, takes_argument


@dataclass(slots=True)
class _Own:
    """One sequence. token_ids: all that are computed. kept: arguments of the next call, the cache among them."""

    token_ids: list[int] = field(default_factory=list)
    kept: dict[str, Any] | None = None


class OwnCaches:
    """The sequences that a model is in, by request id.

    backbone: the module whose hidden states are the result; None: the model's logits are.
    continues_by: the most tokens that the model computes rightly from its cache in one call: 0, 1 or None for any.
    """

    def __init__(self, model: Any, backbone: nn.Module | None) -> None:
        self._model, self._backbone = model, backbone
        self.continues_by: int | None = 1 if hasattr(model, "prepare_inputs_for_generation") else 0
        self._sequences: dict[str, _Own] = {}

    def __len__(self) -> int:
        return len(self._sequences)

    def end(self, request_ids: Iterable[str]) -> None:
        """Drop the caches of sequences that ended or were preempted; unknown ids are ignored."""
        for request_id in request_ids:
            self._sequences.pop(request_id, None)

    def states(self, request_id: str, start: int, token_ids: list[int]) -> Tensor:
        """[n, E] of n new tokens at positions start, start + 1, ... (or [n, V] without a backbone).

        ValueError when the tokens before `start` are not known here.
        """
        own = self._sequences.setdefault(request_id, _Own())
        if len(own.token_ids) < start:
            raise ValueError(f"{request_id}: {len(own.token_ids)} of the {start} tokens before this step are known")
        if len(own.token_ids) != start or start == 0:
            own.kept = None                # preempted, or the step runs again: what the cache has is past this point
        known, own.token_ids = own.token_ids[:start], own.token_ids[:start] + token_ids
        can_continue = self.continues_by is None or len(token_ids) <= self.continues_by
        if own.kept is None or not can_continue:
            own.kept = None
            return self._run(own, len(known) + len(token_ids))[-len(token_ids):]
        return self._run(own, len(token_ids))

    def _run(self, own: _Own, count: int) -> Tensor:
        """[count, E] of the last `count` tokens; those before them are in the cache."""
        ids = torch.tensor([own.token_ids])
        if self.continues_by == 0:
            return self._call({"input_ids": ids} | self._without_cache())[1]
        kept = own.kept if own.kept is not None else self._first()
        if takes_argument(self._model, "position_ids"):
            kept["position_ids"] = torch.arange(ids.shape[1]).unsqueeze(0)
        is_first = own.kept is None
        inputs = self._model.prepare_inputs_for_generation(
            ids, next_sequence_length=None if is_first else count, is_first_iteration=is_first, **kept)
        if takes_argument(self._model, "logits_to_keep") and self._backbone is not None:
            inputs["logits_to_keep"] = 1
        out, states = self._call(inputs)
        own.kept = self._model._update_model_kwargs_for_generation(out, kept)
        return states

    def _first(self) -> dict[str, Any]:
        """The arguments of a sequence's first call, with an empty cache where the model does not make its own."""
        from transformers import DynamicCache, GenerationMixin

        kept: dict[str, Any] = {"use_cache": True}
        if self._model._supports_default_dynamic_cache():
            names = inspect.signature(vars(GenerationMixin)["prepare_inputs_for_generation"]).parameters
            cache = DynamicCache(config=self._model.config.get_text_config(decoder=True))
            kept["cache" if "cache" in names else "past_key_values"] = cache       # the argument's name has changed
        return kept

    def _without_cache(self) -> dict[str, Any]:
        return {"use_cache": False} if takes_argument(self._model, "use_cache") else {}

    def _call(self, inputs: dict[str, Any]) -> tuple[Any, Tensor]:
        """(what the model returned, hidden states [T, E] or logits [T, V])."""
        if self._backbone is None:
            out = self._model(**inputs)
            return out, out.logits[0]
        seen: list[Any] = []
        handle = self._backbone.register_forward_hook(lambda module, args, output: seen.append(output))
        try:
            out = self._model(**inputs)
        finally:
            handle.remove()
        return out, first_states(seen[-1])[0]
