"""`TransformersAudio`: the encoder of audio of a model of Transformers, and how its rows get into the model.

Models of Transformers put the rows of audio in the places of the audio token, then call their text model with
embeddings. weft lets the model do so for one item and takes the rows from that call; in a step, weft puts the rows into
the embeddings. Knows no cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from weft.models.prompt_item import PromptItem
from weft.models.transformers.check import Shown
from weft.models.transformers.kinds import TransformersModule
from weft.models.transformers.media import TransformersMedia, media_of
from weft.models.transformers.outline import Outline, first_states, takes_argument
from weft.ops.step import RowEmbeds, Step

_EMBEDS = "inputs_embeds"
_TRIAL = (4, 6, 3)                                   # tokens before, of and after the audio of a trial
_FEATURES = ("input_features", "input_values")       # arguments that only models of audio have


class _ReachedText(Exception):
    """The text model is about to be called with `embeds`."""

    def __init__(self, embeds: Tensor) -> None:
        super().__init__("the rows are made")
        self.embeds = embeds


class TransformersAudio:
    """As MediaEncoder. holder: its `model` is the one that runs, which loading may replace. backbone: as Outline.

    token_id: of the audio token. makes_rows False: the model is given whole prompts with their tensors.
    """

    def __init__(self, holder: TransformersModule, backbone: str, token_id: int, *, makes_rows: bool) -> None:
        self._holder, self._backbone, self._token_id, self.makes_rows = holder, backbone, token_id, makes_rows
        self.token_ids: Mapping[str, int] = {"audio": token_id}
        self.kinds = tuple(self.token_ids)
        self.unit = "rows" if makes_rows else "prompt"

    @property
    def _body(self) -> Any:
        return self._holder.model.get_submodule(self._backbone)

    def look(self, outline: Outline, token_ids: list[int]) -> Shown:
        """What the model, loaded and not yet wired, does with audio of random rows. Errors are those of its class."""
        body = self._body
        before, inside, after = _TRIAL
        ids = torch.tensor([*token_ids[:before], *[self._token_id] * inside, *token_ids[before : before + after]])
        like = body.get_input_embeddings().weight
        rows = torch.randn(inside, like.shape[1], generator=torch.Generator().manual_seed(5)).to(like.dtype)
        embeds = RowEmbeds(rows=torch.arange(before, before + inside), values=rows)
        given = {**outline.keywords, **self._merged(ids, embeds)}
        if outline.takes_positions:
            given["position_ids"] = torch.arange(len(ids))[None]
        return Shown(ids.tolist(), embeds, None, first_states(body(**given))[0])

    def encode(self, kind: str, tensors: Mapping[str, Tensor], num_rows: int) -> tuple[Tensor, ...]:
        """As MediaEncoder."""
        body = self._body
        dtype = next(body.parameters()).dtype
        given: dict[str, Any] = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                                 for name, tensor in tensors.items() if takes_argument(body, name)}

        def stop(_module: Any, _args: Any, keywords: dict[str, Any]) -> None:
            raise _ReachedText(keywords[_EMBEDS])

        handle = body.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
        try:
            body(input_ids=torch.full((1, num_rows), self._token_id), **given)
        except _ReachedText as reached:
            return (reached.embeds[0],)
        finally:
            handle.remove()
        raise ValueError(f"{type(body).__name__} does not call its text model with embeddings")

    def positions(self, token_ids: Sequence[int], items: Sequence[PromptItem]) -> Tensor | None:
        """As MediaEncoder: audio turns by the tokens' places."""
        return None

    def types(self, input_ids: Tensor) -> dict[str, Tensor]:
        """As TransformersMedia: no model marks the tokens of audio."""
        return {}

    def encoded(self, step: Step) -> dict[str, Any]:
        """Arguments of the model's forward about the rows of a step."""
        return {} if step.embeds is None else self._merged(step.input_ids, step.embeds)

    def _merged(self, input_ids: Tensor, embeds: RowEmbeds) -> dict[str, Any]:
        """The embeddings [1, T, E] of input_ids [T] with the rows in their places, instead of the ids."""
        known = input_ids.index_fill(0, embeds.rows, 0)          # the audio token may have no row in the table
        looked_up = self._body.get_input_embeddings()(known)
        merged = looked_up.index_copy(0, embeds.rows, embeds.values.to(looked_up.dtype))
        return {"input_ids": None, _EMBEDS: merged[None]}


MediaOfTransformers = TransformersMedia | TransformersAudio


def encoder_of(holder: TransformersModule, hf_config: Any, outline: Outline | None) -> MediaOfTransformers | None:
    """The encoder of a held model's images, else of its audio; None: it takes neither, or not as weft gives them.

    outline: of a model whose backbone is called apart; None: of one that is called as a whole.
    """
    return media_of(holder, hf_config, outline) or _audio_of(holder, hf_config, outline)


def _audio_of(holder: TransformersModule, hf_config: Any, outline: Outline | None) -> TransformersAudio | None:
    token_id = next((found for name in ("audio_token_id", "audio_token_index")
                     if isinstance(found := getattr(hf_config, name, None), int)), None)
    backbone = "" if outline is None else outline.backbone
    body = holder.model.get_submodule(backbone)
    if getattr(hf_config, "has_lora_adapter", False):        # Granite Speech: an adapter for prompts with audio alone
        return None
    if token_id is None or not any(takes_argument(body, name) for name in _FEATURES):
        return None
    return TransformersAudio(holder, backbone, token_id, makes_rows=outline is not None)
