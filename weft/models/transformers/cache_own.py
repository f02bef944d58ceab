"""`OwnCaches`: a model of Transformers as it is, sequence by sequence, each with a cache object of the model's kind.

Slower than the paged cache, and right for any model: it is called as Transformers' `generate` calls it. A chunk that
such a model cannot continue from its cache is computed again from the sequence's first token. An encoder runs once for
a sequence; its states are kept with the cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.cache.masks import Mask
from weft.cache.need import EncoderNeed, TokensNeed
from weft.models.transformers.outline import first_states, takes_argument
from weft.ops.step import PromptTensors

_ANSWERS = "token_type_ids"      # the argument by which a model may mark the tokens of the answer


@dataclass(slots=True)
class _Own:
    """One sequence. token_ids: all that are computed. kept: arguments of the next call, the cache among them.

    encoder_ids: [1, n], the encoder's input; None: the model has no encoder. encoded: arguments of each call about it.
    media: arguments about media; {}: the prompt, of num_prompt_tokens, has none.
    """

    token_ids: list[int] = field(default_factory=list)
    kept: dict[str, Any] | None = None
    encoder_ids: Tensor | None = None
    encoded: dict[str, Any] = field(default_factory=dict)
    media: dict[str, Any] = field(default_factory=dict)
    num_prompt_tokens: int = 0


class OwnCaches:
    """The sequences that a model is in, by request id.

    backbone: the module whose hidden states are the result; None: the model's logits are. has_encoder: the sequences'
    tokens are the decoder's. marks: makes the arguments that mark
    tokens of media among token ids [1, n].
    continues_by: the most tokens that the model computes rightly from its cache in one call: 0, 1 or None for any.
    """

    def __init__(self, model: Any, backbone: nn.Module | None, *, has_encoder: bool = False,
                 marks: Callable[[Tensor], dict[str, Tensor]] | None = None) -> None:
        self._model, self._backbone, self._has_encoder, self._marks = model, backbone, has_encoder, marks
        self.continues_by: int | None = 1 if hasattr(model, "prepare_inputs_for_generation") else 0
        self._marks_answers = marks is not None and _marks_answers(model)
        self._sequences: dict[str, _Own] = {}

    def __len__(self) -> int:
        return len(self._sequences)

    def end(self, request_ids: Iterable[str]) -> None:
        """Drop the caches of sequences that ended or were preempted; unknown ids are ignored."""
        for request_id in request_ids:
            self._sequences.pop(request_id, None)

    def encode(self, request_id: str, input_ids: Tensor) -> None:
        """A sequence begins, or begins again: run the encoder over its input [n]."""
        batch = input_ids.unsqueeze(0)
        self._sequences[request_id] = _Own(encoder_ids=batch, encoded=_encoded(self._model, batch))

    def show(self, request_id: str, media: PromptTensors) -> None:
        """A sequence begins, or begins again, with media: keep its arguments for the call that computes the prompt."""
        dtype = next(self._model.parameters()).dtype
        self._sequences[request_id] = _Own(num_prompt_tokens=media.num_prompt_tokens, media={
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in media.tensors.items()
            if takes_argument(self._model, name)})

    def states(self, request_id: str, start: int, token_ids: list[int],
               token_types: Tensor | None = None) -> Tensor:
        """[n, E] of n new tokens at positions start, start + 1, ... (or [n, V] without a backbone).

        token_types: None: only requests to pool have them, and a model that keeps caches generates.

        ValueError when the tokens before `start` are not known here.
        """
        assert token_types is None, "a model that generates is given no token types"
        own = self._sequences.setdefault(request_id, _Own())
        if len(own.token_ids) < start:
            raise ValueError(f"{request_id}: {len(own.token_ids)} of the {start} tokens before this step are known")
        if len(own.token_ids) != start or start == 0:
            own.kept = None                # preempted, or the step runs again: what the cache has is past this point
        known, own.token_ids = own.token_ids[:start], own.token_ids[:start] + token_ids
        can_continue = self.continues_by is None or len(token_ids) <= self.continues_by
        if own.kept is None or not can_continue:
            own.kept = None
            return self._all(own)[-len(token_ids):]
        return self._run(own, len(known), len(own.token_ids))

    def _all(self, own: _Own) -> Tensor:
        """[T, E] of all tokens. A prompt with media is a call of its own, as in `generate`: a model that lets tokens of
        the prompt see each other does not let those after it.
        """
        first, end = own.num_prompt_tokens, len(own.token_ids)
        ends = [end]
        if own.media and first < end and self.continues_by != 0:
            ends = [first, end] if self.continues_by is None else [*range(first, end + 1)]
        return torch.cat([self._run(own, start, end) for start, end in pairwise([0, *ends])])

    def _run(self, own: _Own, start: int, end: int) -> Tensor:
        """[end - start, E] of these tokens; those before them are in the cache."""
        ids = torch.tensor([own.token_ids[:end]])
        types = self._types(own, ids)
        if self.continues_by == 0:
            given = {"input_ids": ids} if own.encoder_ids is None else {
                "input_ids": own.encoder_ids, "decoder_input_ids": ids, **own.encoded}
            given |= own.media | types
            return self._call(given | without_cache(self._model))[1]
        kept = (own.kept if own.kept is not None else self._first() | own.encoded | own.media) | types
        if takes_argument(self._model, "position_ids") and not self._has_encoder:
            had = kept.get("position_ids")      # Transformers goes on from those of the tokens before by itself
            if had is None or had.shape[-1] != end:
                kept["position_ids"] = self._positions(own, ids, types)
        is_first = own.kept is None
        inputs = self._model.prepare_inputs_for_generation(
            ids, next_sequence_length=None if is_first else end - start, is_first_iteration=is_first, **kept)
        if takes_argument(self._model, "logits_to_keep") and self._backbone is not None:
            inputs["logits_to_keep"] = 1
        out, states = self._call(inputs)
        own.kept = self._model._update_model_kwargs_for_generation(out, kept, is_encoder_decoder=self._has_encoder)
        return states

    def _types(self, own: _Own, input_ids: Tensor) -> dict[str, Tensor]:
        """Arguments that mark the prompt's tokens of media, where the model takes them; or those of the answer."""
        if self._marks is None or not own.media:
            return {}
        after = max(0, input_ids.shape[1] - own.num_prompt_tokens)
        if self._marks_answers:
            return {_ANSWERS: F.pad(torch.zeros_like(input_ids[:, : own.num_prompt_tokens]), (0, after), value=1)}
        return {name: F.pad(x, (0, after)) for name, x in self._marks(input_ids[:, : own.num_prompt_tokens]).items()
                if takes_argument(self._model, name)}

    def _positions(self, own: _Own, input_ids: Tensor, types: dict[str, Tensor]) -> Tensor:
        """`position_ids` of input_ids [1, n]: in several channels if the model has them for media."""
        count = getattr(self._model, "_prepare_position_ids_for_generation", None)
        if count is None or not own.media:
            return torch.arange(input_ids.shape[1]).unsqueeze(0)
        return count(input_ids, own.media | types)

    def _first(self) -> dict[str, Any]:
        """The arguments of a sequence's first call, with an empty cache where the model does not make its own."""
        from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin

        kept: dict[str, Any] = {"use_cache": True}
        if self._model._supports_default_dynamic_cache():
            names = inspect.signature(vars(GenerationMixin)["prepare_inputs_for_generation"]).parameters
            cache: Any = DynamicCache(config=self._model.config.get_text_config(decoder=True))
            if self._has_encoder:                            # a decoder's windows are none over the encoder's tokens
                cache = EncoderDecoderCache(cache, DynamicCache())
            kept["cache" if "cache" in names else "past_key_values"] = cache       # the argument's name has changed
        return kept

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


def _marks_answers(model: Any) -> bool:
    """Whether a model marks the tokens that it generates by 1, and the whole prompt by 0 (PaliGemma): shown by what its
    class appends to the marks of a prompt.
    """
    from transformers.utils.generic import ModelOutput

    update = getattr(model, "_update_model_kwargs_for_generation", None)
    if update is None or not takes_argument(model, _ANSWERS):
        return False
    return update(ModelOutput(), {_ANSWERS: torch.zeros(1, 1, dtype=torch.int64)})[_ANSWERS][0, -1].item() == 1


def without_cache(model: nn.Module) -> dict[str, Any]:
    """The argument of a call that needs no cache."""
    return {"use_cache": False} if takes_argument(model, "use_cache") else {}


def _encoded(model: Any, input_ids: Tensor) -> dict[str, Any]:
    """Arguments for a model with an encoder, about its input [1, n]: the encoder's states among them."""
    given = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "return_dict": True}
    encoder = model.get_encoder()
    taken = {key: value for key, value in given.items() if key == "input_ids" or takes_argument(encoder, key)}
    return {"encoder_outputs": encoder(**taken), "attention_mask": given["attention_mask"]}


@dataclass(frozen=True, slots=True)
class OwnCacheLayer:
    """Stands for the caches that Transformers' objects hold: the engine counts their memory, and allocates none."""

    need: TokensNeed | EncoderNeed
    cache_dtypes: tuple[torch.dtype, ...] = ()

    def cache_shapes(self, num_blocks: int) -> tuple[tuple[int, ...], ...]:
        """As CacheLayer: no tensors."""
        return ()

    def bind_cache(self, tensors: tuple[Tensor, ...], group: int) -> None:
        """As CacheLayer."""


def own_cache_layers(hf_config: Any, dtype: torch.dtype, mask: Mask, *, has_encoder: bool) -> tuple[OwnCacheLayer, ...]:
    """The layers for a model's caches, of which a token is taken to need keys and values in all layers.

    So does a token of an encoder's input, for cross attention; its hidden state is kept besides.
    """
    text = text_config(hf_config)

    def number(name: str, default: int) -> int:
        try:
            found = getattr(text, name, None)
        except (AttributeError, RuntimeError):               # it differs between layers
            found = None
        return found if isinstance(found, int) and found > 0 else default

    heads = number("num_attention_heads", 1)
    size = number("head_dim", number("hidden_size", 1024) // heads or 1)
    num_bytes = 2 * number("num_hidden_layers", 32) * number("num_key_value_heads", heads) * size * dtype.itemsize
    layers = (OwnCacheLayer(TokensNeed(num_bytes, None, mask)),)
    if not has_encoder:
        return layers
    return *layers, OwnCacheLayer(EncoderNeed(num_bytes + number("hidden_size", 1024) * dtype.itemsize))


def text_config(hf_config: Any) -> Any:
    """The part of a config that is about the text model, or about the decoder beside an encoder."""
    try:
        return hf_config.get_text_config(decoder=True)
    except ValueError:                                        # several parts could be meant
        return hf_config
