"""`BaseMultiModalProcessor`: from a prompt with media to token ids, the items' tensors and their places.

Subclasses say what belongs to which item (`_get_mm_fields_config`) and where it goes (`_get_prompt_updates`). A prompt
takes four steps: Transformers' processor; its result by items; the updates, unless that processor made them; the
places of the items in the token ids.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor

from weft.models.vllm.multimodal.data import (
    DictEmbeddingItems,
    EmbeddingItems,
    MultiModalDataItems,
    MultiModalDataParser,
)
from weft.models.vllm.multimodal.fields import MultiModalKwargsItems
from weft.models.vllm.multimodal.info import BaseDummyInputsBuilder, ProcessorInputs
from weft.models.vllm.multimodal.updates import (
    Placeholder,
    ResolvedUpdate,
    apply_updates,
    as_ids,
    find_placeholders,
)

I = TypeVar("I")      # noqa: E741  a BaseProcessingInfo
MultiModalInputs = dict      # the result of `apply`


class BaseMultiModalProcessor(Generic[I]):
    """info: of the model. dummy_inputs: gives the text for media beside token ids."""

    def __init__(self, info: I, dummy_inputs: BaseDummyInputsBuilder[I], *, cache: Any = None, **options: Any) -> None:
        self.info, self.dummy_inputs, self.cache = info, dummy_inputs, cache
        self.data_parser = self._get_data_parser()

    @property
    def _info(self) -> Any:
        return self.info

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As `apply`."""
        return self.apply(*args, **kwargs)

    def _get_data_parser(self) -> MultiModalDataParser:
        return self._info.get_data_parser()

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NotImplementedError(f"{type(self).__qualname__}._get_mm_fields_config")

    def _get_prompt_updates(self, mm_items: MultiModalDataItems, hf_processor_mm_kwargs: Mapping[str, Any],
                            out_mm_kwargs: MultiModalKwargsItems) -> Sequence[Any]:
        raise NotImplementedError(f"{type(self).__qualname__}._get_prompt_updates")

    def _to_mm_items(self, mm_data: Mapping[str, Any]) -> MultiModalDataItems:
        return self.data_parser.parse_mm_data(mm_data)

    def _get_hf_mm_data(self, mm_items: MultiModalDataItems) -> tuple[dict[str, Any], dict[str, Any]]:
        """(what the processor is given, what goes to the model unprocessed)."""
        processed: dict[str, Any] = {}
        passed: dict[str, Any] = {}
        for items in mm_items.values():
            processed |= items.get_processor_data()
            passed |= items.get_passthrough_data()
        return processed, passed

    def _call_hf_processor(self, prompt: str, mm_data: Mapping[str, Any], mm_kwargs: Mapping[str, Any],
                           tok_kwargs: Mapping[str, Any]) -> Any:
        """What Transformers' processor makes of a text and its media."""
        return self._info.ctx.call_hf_processor(self._info.get_hf_processor(**mm_kwargs), {"text": prompt, **mm_data},
                                                {**mm_kwargs, **tok_kwargs})

    def _hf_processor_applies_updates(self, prompt_text: str, mm_items: MultiModalDataItems,
                                      hf_processor_mm_kwargs: Mapping[str, Any],
                                      tokenization_kwargs: Mapping[str, Any]) -> bool:
        """Whether the processor's token ids have the items' tokens."""
        return not any(isinstance(items, EmbeddingItems | DictEmbeddingItems) for items in mm_items.values())

    def _apply_hf_processor_text_mm(self, prompt_text: str, mm_items: MultiModalDataItems,
                                    hf_processor_mm_kwargs: Mapping[str, Any],
                                    tokenization_kwargs: Mapping[str, Any]) -> tuple[list[int], Any, bool]:
        """(token ids, the processor's result, whether the ids have the items' tokens)."""
        processed, passed = self._get_hf_mm_data(mm_items)
        given = {"prompt": prompt_text, "mm_data": processed, "mm_kwargs": hf_processor_mm_kwargs}
        if "tok_kwargs" in inspect.signature(self._call_hf_processor).parameters:
            given["tok_kwargs"] = tokenization_kwargs
        found = self._call_hf_processor(**given)
        found.update(passed)
        ids = found.pop("input_ids")
        ids = ids.tolist() if isinstance(ids, Tensor) else ids
        wanted = {"prompt_text": prompt_text, "mm_items": mm_items, "hf_processor_mm_kwargs": hf_processor_mm_kwargs,
                  "tokenization_kwargs": tokenization_kwargs}
        names = inspect.signature(self._hf_processor_applies_updates).parameters
        applied = self._hf_processor_applies_updates(**{name: x for name, x in wanted.items() if name in names})
        return (ids[0] if ids and isinstance(ids[0], list) else ids), found, applied

    def _apply_hf_processor_tokens_only(self, prompt_tokens: list[int]) -> list[int]:
        """The ids of a prompt that has no text."""
        return prompt_tokens

    def _processed(self, prompt: str | list[int], mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, Any],
                   tok_kwargs: Mapping[str, Any]) -> tuple[list[int], Any, bool]:
        """As `_apply_hf_processor_text_mm`, of a text or of token ids."""
        if isinstance(prompt, str):
            return self._apply_hf_processor_text_mm(prompt, mm_items, hf_kwargs, tok_kwargs)
        text = self.dummy_inputs.get_dummy_text(mm_items.get_all_counts())
        _, found, _ = self._apply_hf_processor_text_mm(text, mm_items, hf_kwargs, tok_kwargs)
        return self._apply_hf_processor_tokens_only(prompt), found, False

    def _get_mm_prompt_updates(self, mm_items: MultiModalDataItems, hf_processor_mm_kwargs: Mapping[str, Any],
                               out_mm_kwargs: MultiModalKwargsItems) -> dict[str, list[list[ResolvedUpdate]]]:
        updates = self._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        return {modality: [[update.resolve(i) for update in updates if update.modality == modality]
                           for i in range(count)] for modality, count in mm_items.get_all_counts().items()}

    def _apply_prompt_updates(self, token_ids: list[int], mm_prompt_updates: Mapping[str, Any]
                              ) -> tuple[list[int], Mapping[str, list[Placeholder]]]:
        """(token ids with the items' tokens, {modality: where}). In text, where the ids do not have all targets."""
        tokenizer = self._info.get_tokenizer()
        ids, done = apply_updates(token_ids, mm_prompt_updates, tokenizer)
        if any(count < len(mm_prompt_updates[modality]) for modality, count in done.items()):
            text, _ = apply_updates(tokenizer.decode(token_ids), mm_prompt_updates, tokenizer)
            ids = as_ids(text, tokenizer)
        return ids, self._find_mm_placeholders(ids, mm_prompt_updates)

    def _find_mm_placeholders(self, new_token_ids: list[int], mm_prompt_updates: Mapping[str, Any]
                              ) -> Mapping[str, list[Placeholder]]:
        """{modality: where its items' tokens are}."""
        found: dict[str, list[Placeholder]] = {}
        for each in find_placeholders(new_token_ids, mm_prompt_updates, self._info.get_tokenizer()):
            found.setdefault(each.modality, []).append(each)
        return found

    def apply(self, prompt: Any, mm_data: Any = None, hf_processor_mm_kwargs: Mapping[str, Any] = {},
              tokenization_kwargs: Mapping[str, Any] | None = None, **names: Any) -> dict[str, Any]:
        """prompt_token_ids, mm_kwargs (MultiModalKwargsItems) and mm_placeholders ({modality: [PlaceholderRange]}).

        prompt: text or token ids; or ProcessorInputs. names: of items, which the engine keeps itself. ValueError when
        an item has no place, or there are too many.
        """
        if isinstance(prompt, ProcessorInputs):
            inputs = prompt
            prompt, mm_data = inputs.prompt, inputs.mm_data_items or inputs.mm_items or inputs.mm_data
            hf_processor_mm_kwargs, tokenization_kwargs = inputs.hf_processor_mm_kwargs, inputs.tokenization_kwargs
        mm_items = mm_data if isinstance(mm_data, MultiModalDataItems) else self._to_mm_items(mm_data or {})
        limits = self._info.get_allowed_mm_limits()
        for modality, count in mm_items.get_all_counts().items():
            if count > limits.get(modality, 0):
                raise ValueError(f"{count} {modality} items: the model takes at most {limits.get(modality, 0)}")
        ids, found, applied = self._processed(prompt, mm_items, hf_processor_mm_kwargs, tokenization_kwargs or {})
        kwargs = MultiModalKwargsItems.from_hf_inputs(found, self._get_mm_fields_config(found, hf_processor_mm_kwargs))
        updates = self._get_mm_prompt_updates(mm_items, hf_processor_mm_kwargs, kwargs)
        if applied:
            placed = self._find_mm_placeholders(ids, updates)
        else:
            ids, placed = self._apply_prompt_updates(ids, updates)
        for modality, count in mm_items.get_all_counts().items():
            if len(placed.get(modality, ())) != count:
                raise ValueError(f"{len(placed.get(modality, ()))} places for {count} {modality} items in the prompt")
        return {"type": "multimodal", "prompt_token_ids": ids, "mm_kwargs": kwargs, "mm_placeholders": {
            modality: [each.to_range() for each in found] for modality, found in placed.items()}}
