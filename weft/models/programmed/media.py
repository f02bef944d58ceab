"""`ProgrammedMedia`: the encoder of media of a programmed model, whose own processor reads prompts.

The model's `embed_multimodal` makes an item's rows, and its `embed_input_ids` puts them in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.models.interfaces import supports_mrope, supports_multimodal
from weft.models.prompt_item import PromptItem
from weft.models.vllm.multimodal.fields import MultiModalFeatureSpec, MultiModalKwargsItems, PlaceholderRange, item_of
from weft.models.vllm.multimodal.info import InputProcessingContext
from weft.models.vllm.multimodal.registry import processor_factories
from weft.models.vllm.vllm_config import VllmConfig
from weft.ops.step import Step
from weft.parallel import Ranks, running_on


class ProgrammedMedia:
    """As MediaEncoder. kinds: media that a prompt may have."""

    token_ids: Mapping[str, int] = {}      # the model's processor knows them
    unit, makes_rows = "rows", True

    def __init__(self, model: Any, kinds: Iterable[str], hf_config: Any, ranks: Ranks) -> None:
        self._model, self.kinds, self._hf_config, self._ranks = model, tuple(kinds), hf_config, ranks
        self._has_channels = supports_mrope(model)
        self._takes_mask = "is_multimodal" in inspect.signature(model.embed_input_ids).parameters
        self._takes_ids = bool(getattr(model, "requires_raw_input_tokens", False))

    def encode(self, kind: str, tensors: Mapping[str, Tensor], num_rows: int) -> tuple[Tensor, ...]:
        """As MediaEncoder."""
        with running_on(self._ranks):
            found = self._model.embed_multimodal(**item_of(kind, tensors).reduced())
        parts = [found] if isinstance(found, Tensor) else list(found or ())
        if not parts:
            raise ValueError(f"{type(self._model).__qualname__}.embed_multimodal made no rows of an item ({kind}: "
                             f"{', '.join(tensors)})")
        return (torch.cat([part.flatten(0, -2) for part in parts]),)

    def positions(self, token_ids: Sequence[int], items: Sequence[PromptItem]) -> Tensor | None:
        """As MediaEncoder, by the model's `get_mrope_input_positions`, if it has one."""
        if not self._has_channels:
            return None
        count = self._model.get_mrope_input_positions
        made = [item_of(item.kind, item.tensors) for item in items]
        if "mm_features" in inspect.signature(count).parameters:
            features = [MultiModalFeatureSpec(data, item.kind, str(i), PlaceholderRange(
                item.spans[0][0], item.spans[-1][1] - item.spans[0][0]))
                for i, (data, item) in enumerate(zip(made, items, strict=True))]
            return count(list(token_ids), features)[0]
        values, given = MultiModalKwargsItems.from_seq(made), {}
        for name, parameter in list(inspect.signature(count).parameters.items())[1:]:
            if name in values or parameter.default is inspect.Parameter.empty:
                given[name] = self._hf_config if name == "hf_config" else values.get(name)
        return count(list(token_ids), **given)[0]

    def step_positions(self, step: Step) -> Tensor:
        """`positions` of `forward`: [T], or [3, T] of a model that turns by three."""
        if not self._has_channels:
            return step.positions
        return step.positions.expand(3, -1) if step.rope_positions is None else step.rope_positions

    def inputs(self, step: Step) -> tuple[Tensor | None, Tensor]:
        """(input_ids of `forward`, [T, E]): the rows of all tokens, as models with media are given them in each step.

        The ids are None, as in vLLM, unless the class says that it needs them.
        """
        mask, rows = torch.zeros(len(step.input_ids), dtype=torch.bool), None
        if step.embeds is not None:
            order = step.embeds.rows.argsort()
            mask[step.embeds.rows] = True
            rows = (step.embeds.values[order],)
        more = {"is_multimodal": mask if rows is not None else None} if self._takes_mask else {}
        embeds = self._model.embed_input_ids(step.input_ids, rows, **more)
        return (step.input_ids if self._takes_ids else None), embeds


def media_of(model: nn.Module, vllm_config: VllmConfig, ranks: Ranks) -> ProgrammedMedia | None:
    """The encoder of a model that says `supports_multimodal` and has a registered processor; None: it takes text alone.

    ConfigError when the classes of its processor cannot be made.
    """
    factories = processor_factories(type(model))
    if factories is None or not supports_multimodal(model):
        return None
    try:
        info = factories.make_info(InputProcessingContext(vllm_config.model_config))
        kinds = info.get_supported_mm_limits()
    except Exception as error:
        raise ConfigError("model_class", type(model).__qualname__, expected="a registered processor whose info says "
                          "which media there may be", hint=f"{type(error).__name__}: {error}") from error
    return ProgrammedMedia(model, kinds, vllm_config.model_config.hf_config, ranks)
