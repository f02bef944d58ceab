"""`MediaProcessor`: Transformers' processor of a checkpoint: prompt and images to token ids and encoder inputs.

It is loaded with the first prompt that has media. A checkpoint without a processor may still have an image processor;
then the prompt has to be token ids with one image token for each row.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from weft.errors import ConfigError, RequestError
from weft.media.item import MediaItem, ProcessedPrompt
from weft.media.split import split_items

_KIND = "image"
_TEXT_KEYS = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
_OFFSETS = "text_replacement_offsets"
# What processors of older checkpoints do not say and the model's config does: the processor's name, the config's keys.
_FROM_CONFIG = {"patch_size": ("vision_config", "patch_size"),
                "vision_feature_select_strategy": ("vision_feature_select_strategy",)}


class MediaProcessor:
    """path: the checkpoint's folder. token_id: stands for a row of an image. hf_config: the model's, as plain data.

    kwargs: arguments of the processor for all prompts (`mm_processor_kwargs`).
    """

    def __init__(self, path: str, token_id: int, hf_config: Mapping[str, Any], *, trust_remote_code: bool = False,
                 kwargs: Mapping[str, Any] | None = None) -> None:
        self._path, self._token_id, self._hf_config = path, token_id, hf_config
        self._trust, self._kwargs, self._lock = trust_remote_code, dict(kwargs or {}), threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def of_text(self, text: str, images: Sequence[Any], *, add_special_tokens: bool, kwargs: Mapping[str, Any],
                uuids: Sequence[str | None]) -> ProcessedPrompt:
        """A text with a placeholder for each image. RequestError when they do not match."""
        processor, _ = self._load()
        if processor is None:
            raise RequestError("prompt", "text", expected="prompt_token_ids with one image token for each row of the "
                               "encoder", hint=f"{self._path} has no processor.")
        found = self._call(processor, text, images, kwargs, add_special_tokens=add_special_tokens)
        ids, counts = _ids(found), self._counts(processor, found)
        return self._prompt(ids, counts, found, images, uuids, kwargs)

    def of_ids(self, token_ids: list[int], images: Sequence[Any], *, kwargs: Mapping[str, Any],
               uuids: Sequence[str | None]) -> ProcessedPrompt:
        """Token ids with one image token for each image, which becomes as many as the image has rows; or with all."""
        processor, image_processor = self._load()
        num = token_ids.count(self._token_id)
        if processor is None:
            given = {"images": list(images), "return_tensors": "pt"}
            found = self._called(image_processor, given | self._merged(kwargs))
            return self._prompt(token_ids, None, found, images, uuids, kwargs)
        expansions: list[list[int]] = []
        parts: list[Any] = []
        for image in images:
            parts.append(self._call(processor, processor.image_token, [image], kwargs, add_special_tokens=False))
            expansions.append(_ids(parts[-1]))
        found = parts[0] if len(parts) == 1 else self._call(
            processor, processor.image_token * len(images), images, kwargs, add_special_tokens=False)
        counts = [ids.count(self._token_id) for ids in expansions]
        if num == sum(counts) != len(images):
            return self._prompt(token_ids, counts, found, images, uuids, kwargs)
        if num != len(images):
            raise RequestError("prompt_token_ids", f"{num} image tokens", expected=f"{len(images)} image tokens (id "
                               f"{self._token_id}), one for each image, or {sum(counts)}, one for each row")
        ids: list[int] = []
        left = iter(expansions)
        for token_id in token_ids:
            ids += next(left) if token_id == self._token_id else [token_id]
        return self._prompt(ids, counts, found, images, uuids, kwargs)

    def _prompt(self, ids: list[int], counts: list[int] | None, found: Mapping[str, Any], images: Sequence[Any],
                uuids: Sequence[str | None], kwargs: Mapping[str, Any]) -> ProcessedPrompt:
        places = [place for place, token_id in enumerate(ids) if token_id == self._token_id]
        if not places:
            raise RequestError("prompt", "no image token", expected=f"{len(images)} placeholders, one for each image",
                               hint="A chat template puts them in; in a text write the model's own, such as <image>.")
        tensors = {name: value for name, value in found.items() if isinstance(value, Tensor) and name not in _TEXT_KEYS}
        items: list[MediaItem] = split_items(_KIND, places, counts, tensors, num=len(images), uuids=uuids,
                                             content=repr(sorted(self._merged(kwargs).items())))
        return ProcessedPrompt(ids, items)

    def _counts(self, processor: Any, found: Mapping[str, Any]) -> list[int] | None:
        """Rows of each image, where the processor says what it put in the place of each placeholder."""
        offsets = found.get(_OFFSETS)
        if not offsets or not isinstance(offsets, list) or not offsets[0]:
            return None
        texts = [each["replacement"] for each in offsets[0] if each["type"] == _KIND]
        ids = processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [each.count(self._token_id) for each in ids]

    def _call(self, processor: Any, text: str, images: Sequence[Any], kwargs: Mapping[str, Any], *,
              add_special_tokens: bool) -> Mapping[str, Any]:
        given = {"text": [text], "images": list(images), "return_tensors": "pt",
                 "return_text_replacement_offsets": True, "add_special_tokens": add_special_tokens}
        return self._called(processor, given | self._merged(kwargs))

    def _called(self, processor: Any, given: dict[str, Any]) -> Mapping[str, Any]:
        try:
            with self._lock:      # tokenizers of Transformers must not be called by two threads at once
                return processor(**given)
        except Exception as error:      # the processor's own checks: wrong counts, kwargs that it does not know
            raise RequestError("multi_modal_data", f"{len(given['images'])} images", expected="what the model's "
                               f"processor ({type(processor).__name__}) takes",
                               hint=f"{type(error).__name__}: {str(error)[:300]}") from error

    def _merged(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._kwargs, **kwargs}

    def _load(self) -> tuple[Any, Any]:
        """(processor, image processor); the first is None where the checkpoint has only the second."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._read()
            return self._loaded

    def _read(self) -> tuple[Any, Any]:
        import transformers

        given: dict[str, Any] = {"trust_remote_code": self._trust, "local_files_only": True}
        try:
            processor = transformers.AutoProcessor.from_pretrained(self._path, **given)
            if hasattr(processor, "image_processor"):
                _complete(processor, self._hf_config)
                return processor, processor.image_processor
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error)[:300]}"
        else:
            reason = f"{type(processor).__name__} processes no images"
        try:
            return None, transformers.AutoImageProcessor.from_pretrained(self._path, **given)
        except Exception as error:
            raise ConfigError("model", self._path, expected="a checkpoint with processor_config.json or "
                              "preprocessor_config.json, as a prompt has images", hint=reason) from error


def _complete(processor: Any, hf_config: Mapping[str, Any]) -> None:
    """Give a processor what it needs and its files leave out, as the model's config has it."""
    for name, keys in _FROM_CONFIG.items():
        value: Any = hf_config
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and getattr(processor, name, "") is None:
            setattr(processor, name, value)


def _ids(found: Mapping[str, Any]) -> list[int]:
    return found["input_ids"][0].tolist()
