"""`TransformersMedia`: the encoder of images of a model of Transformers, and how its rows get into the model.

The model's own `get_image_features` makes the rows, and its own forward puts them in the places of the image token,
with whatever it does besides (DeepStack). Knows no cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from weft.models.prompt_item import PromptItem, joined
from weft.models.transformers.check import Shown, difference
from weft.models.transformers.kinds import TransformersModule
from weft.models.transformers.outline import Outline, first_states, takes_argument
from weft.ops.step import RowEmbeds, Step

_FEATURES, _ENCODED = "get_image_features", "mm_encoder_outputs"
_TYPES = ("mm_token_type_ids", "token_type_ids")     # arguments that mark the tokens of images
_CHOICES = ("vision_feature_layer", "vision_feature_select_strategy")     # of the features, from the config
_TRIAL = (4, 6, 3)                                   # tokens before, of and after the image of a trial
_DEEPER = 1                                          # layers that get rows of their own in a trial (DeepStack)


class TransformersMedia:
    """As MediaEncoder. holder: its `model` is the one that runs, which loading may replace. backbone: as Outline.

    hf_config: names the image token. makes_rows False: the model is given whole prompts with their tensors.
    """

    def __init__(self, holder: TransformersModule, backbone: str, hf_config: Any, token_id: int, *,
                 makes_rows: bool) -> None:
        self._holder, self._backbone = holder, backbone
        self._config, self._token_id, self.makes_rows = hf_config, token_id, makes_rows
        self.token_ids: Mapping[str, int] = {"image": token_id}
        self.kinds = tuple(self.token_ids)
        self.unit = "rows" if makes_rows else "prompt"
        self._is_list = True

    @property
    def _body(self) -> Any:
        return self._holder.model.get_submodule(self._backbone)

    def look(self, outline: Outline, token_ids: list[int]) -> Shown:
        """What the model, loaded and not yet wired, does with an image of random rows; settles `unit`. Errors are those
        of its class.
        """
        body = self._body
        before, inside, after = _TRIAL
        ids = torch.tensor([*token_ids[:before], *[self._token_id] * inside, *token_ids[before : before + after]])
        width, generator = self._config.get_text_config().hidden_size, torch.Generator().manual_seed(5)
        like = next(body.parameters())
        values, *deeper = (torch.randn(inside, width, generator=generator).to(like.dtype) for _ in range(1 + _DEEPER))
        embeds = RowEmbeds(rows=torch.arange(before, before + inside), values=values, deeper=tuple(deeper))
        given = {**outline.keywords, "input_ids": ids[None]}
        if outline.takes_positions:
            given["position_ids"] = torch.arange(len(ids))[None]
        marks = {name: x for name, x in self.types(ids[None]).items() if takes_argument(body, name)}
        try:
            plain = self._states(given, embeds)
        except (AttributeError, TypeError):                    # the other form of features
            self._is_list = False
            plain = self._states(given, embeds)
        wanted = self._states(given | marks, embeds) if marks else plain
        if difference(wanted, plain) is not None:
            self.unit = "items"
        return Shown(ids.tolist(), embeds, (before, before + inside) if self.unit == "items" else None, wanted)

    def _states(self, given: dict[str, Any], embeds: RowEmbeds) -> Tensor:
        """[T, E] of a sequence with an image."""
        return first_states(self._body(**(given | self._merging(embeds.values, embeds.deeper))))[0]

    def encode(self, kind: str, tensors: Mapping[str, Tensor], num_rows: int) -> tuple[Tensor, ...]:
        """As MediaEncoder."""
        getter = getattr(self._body, _FEATURES)
        names = inspect.signature(getter).parameters
        dtype = next(self._body.parameters()).dtype
        given: dict[str, Any] = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                                 for name, tensor in tensors.items() if name in names}
        given |= {name: value for name in _CHOICES
                  if name in names and (value := getattr(self._config, name, None)) is not None}
        found = getter(**given, return_dict=True)
        deeper = getattr(found, "deepstack_features", None) or ()
        return tuple(map(_rows, (found.pooler_output, *deeper)))

    def positions(self, token_ids: Sequence[int], items: Sequence[PromptItem]) -> Tensor | None:
        """As MediaEncoder, by the model's `get_rope_index`, if it has one."""
        counter = getattr(self._body, "get_rope_index", None)
        if counter is None:
            return None
        ids = torch.tensor([list(token_ids)])
        given = {"input_ids": ids} | self.types(ids) | joined(items)
        names = inspect.signature(counter).parameters
        return counter(**{name: value for name, value in given.items() if name in names})[0][:, 0]

    def types(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Arguments of a model that mark the tokens of images in input_ids [1, n], by all names that models have."""
        return dict.fromkeys(_TYPES, (input_ids == self._token_id).long())

    def encoded(self, step: Step) -> dict[str, Any]:
        """Arguments of the model's forward about the rows of a step."""
        embeds = step.embeds
        if embeds is None:
            return {}
        places = (step.input_ids == self._token_id).nonzero().flatten()
        parts = [embeds.values, *embeds.deeper]
        if len(places) > len(embeds.rows):      # the model generated the token itself, which is looked up
            at = torch.searchsorted(places, embeds.rows)
            looked_up = self._body.get_input_embeddings()(step.input_ids[places]).to(embeds.values.dtype)
            parts = [base.index_copy(0, at, part) for part, base in zip(
                parts, [looked_up, *(torch.zeros_like(looked_up) for _ in embeds.deeper)], strict=True)]
        return self._merging(parts[0], parts[1:])

    def _merging(self, values: Tensor, deeper: Sequence[Tensor]) -> dict[str, Any]:
        """The argument that gives the backbone its rows, in the form that its `get_image_features` gives."""
        features = SimpleNamespace(pooler_output=(values,) if self._is_list else values.unsqueeze(0),
                                   deepstack_features=[(rows,) for rows in deeper])
        return {_ENCODED: {"image": features}}


def media_of(holder: TransformersModule, hf_config: Any, outline: Outline | None) -> TransformersMedia | None:
    """The encoder of a held model's images; None: it takes none, or not as weft gives them.

    outline: of a model whose backbone is called apart; None: of one that is called as a whole.
    """
    token_id = next((found for name in ("image_token_id", "image_token_index")
                     if isinstance(found := getattr(hf_config, name, None), int)), None)
    if token_id is None:
        return None
    if outline is None:
        found = TransformersMedia(holder, "", hf_config, token_id, makes_rows=False)
        return found if takes_argument(holder.model, "pixel_values") else None
    body = holder.model.get_submodule(outline.backbone)
    if not hasattr(body, _FEATURES) or not takes_argument(body, _ENCODED):
        return None
    return TransformersMedia(holder, outline.backbone, hf_config, token_id, makes_rows=True)


def unwire_towers(model: nn.Module, wired: Sequence[nn.Module]) -> None:
    """Parts without an attention module of the text model (vision towers) attend as Transformers does."""
    from transformers import PreTrainedModel

    configs = {id(module.config) for module in model.modules()
               if isinstance(module, PreTrainedModel) and any(each in wired for each in module.modules())}
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and id(module.config) not in configs:
            module.set_attn_implementation("sdpa" if module._supports_sdpa else "eager")


def _rows(features: Any) -> Tensor:
    """[n, E]: the rows of features, which are a tensor or a list of some."""
    parts = [features] if isinstance(features, Tensor) else features
    return torch.cat([part.flatten(0, -2) for part in parts])
