"""`OwnProcessor`: the processor that a programmed model registered, in the place of Transformers' (`processor.py`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from weft.config.engine_config import EngineConfig
from weft.errors import RequestError, WeftError
from weft.media.item import MediaItem, ProcessedPrompt, content_digest, named_digest, spans_of
from weft.media.kinds import count_of
from weft.media.processor_sizes import check_sizes
from weft.models.choose import choose_model
from weft.models.vllm.multimodal.fields import tensors_of
from weft.models.vllm.multimodal.info import InputProcessingContext
from weft.models.vllm.multimodal.processing import BaseMultiModalProcessor
from weft.models.vllm.multimodal.registry import processor_factories
from weft.models.vllm.vllm_config import set_current_vllm_config, vllm_config
from weft.parallel import current_ranks


class OwnProcessor:
    """Of the class that runs a configuration. Media are those of a prompt, as its parser takes them."""

    def __init__(self, config: EngineConfig) -> None:
        factories = processor_factories(choose_model(config.model))      # pyright: ignore[reportArgumentType]
        assert factories is not None, "only a class with a processor says that it takes media"
        self._seen, self._lock = vllm_config(config, current_ranks()), threading.Lock()
        self._max_pixels = config.media.max_image_pixels
        self._processor: BaseMultiModalProcessor[Any] = factories.build_processor(
            InputProcessingContext(self._seen.model_config))

    @property
    def sampling_rate(self) -> int:
        """Samples a second of the audio that the model's parser takes; 16000 where it takes any."""
        return int(self._processor.data_parser.target_sr or 16000)

    def of_text(self, text: str, values: Mapping[str, Sequence[Any]], *, add_special_tokens: bool,
                kwargs: Mapping[str, Any], uuids: Mapping[str, Sequence[str | None]]) -> ProcessedPrompt:
        """A text with what the model's updates look for. RequestError when they do not find a place for each item.

        values, uuids: {kind: its items}, {kind: their names}.
        """
        settings = {"add_special_tokens": add_special_tokens, **self._processor.info.get_default_tok_params().kwargs}
        return self._prompt(text, values, kwargs, settings, uuids)

    def of_ids(self, token_ids: list[int], values: Mapping[str, Sequence[Any]], *, kwargs: Mapping[str, Any],
               uuids: Mapping[str, Sequence[str | None]]) -> ProcessedPrompt:
        """As `of_text`, of token ids."""
        return self._prompt(token_ids, values, kwargs, {}, uuids)

    def _prompt(self, prompt: str | list[int], values: Mapping[str, Sequence[Any]], kwargs: Mapping[str, Any],
                settings: Mapping[str, Any], uuids: Mapping[str, Sequence[str | None]]) -> ProcessedPrompt:
        if values.get("image"):
            check_sizes(kwargs, None, self._max_pixels)
        try:
            with self._lock, set_current_vllm_config(self._seen):
                given = {kind: list(items) for kind, items in values.items() if items}
                found = self._processor.apply(prompt, given, kwargs, settings)
                items = self._items(found, kwargs, uuids)
        except WeftError:
            raise
        except Exception as error:      # the plugin's own checks, and Transformers'
            raise RequestError("multi_modal_data", " and ".join(count_of(kind, len(x)) for kind, x in values.items()),
                               expected=f"what the model's processor ({type(self._processor).__name__}) takes",
                               hint=f"{type(error).__name__}: {str(error)[:300]}") from error
        return ProcessedPrompt(found["prompt_token_ids"], items)

    def _items(self, found: Mapping[str, Any], kwargs: Mapping[str, Any], uuids: Mapping[str, Sequence[str | None]]
               ) -> list[MediaItem]:
        items = []
        for kind, ranges in found["mm_placeholders"].items():
            for i, (item, place) in enumerate(zip(found["mm_kwargs"].get_items(kind), ranges, strict=True)):
                tensors: dict[str, Tensor] = tensors_of(item)
                uuid, places = uuids[kind][i], place.places()
                if not places:
                    raise ValueError(f"{kind} {i} has no token that stands for a row")
                digest = content_digest(kind, tensors) if uuid is None else named_digest(
                    kind, uuid, f"{sorted(kwargs.items())}|{len(places)}")
                items.append(MediaItem(kind=kind, digest=digest, tensors=tensors, spans=spans_of(places)))
        return sorted(items, key=lambda item: item.spans[0])
