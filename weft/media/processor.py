"""`MediaProcessor`: Transformers' processor of a checkpoint: prompt and media to token ids and encoder inputs.

It is loaded with the first prompt that has media. A checkpoint without a processor may still have an image processor or
a feature extractor; then the prompt has to be token ids with one token of the kind for each row.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from weft.config.media import DATA_ARGUMENTS
from weft.errors import ConfigError, RequestError
from weft.media.item import MediaItem, ProcessedPrompt
from weft.media.kinds import ARGUMENTS, PARTS, PLURALS, count_of
from weft.media.processor_sizes import check_sizes
from weft.media.split import split_items

# {kind: items as processors take them, in the order of their placeholders}, and {kind: the client's name of each}.
Values = Mapping[str, Sequence[Any]]
Uuids = Mapping[str, Sequence[str | None]]

_TEXT_KEYS = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels"})
_ALONE = {"image": "images", "audio": "raw_speech"}        # arguments of the parts alone
_OFFSETS = "text_replacement_offsets"
# What processors of older checkpoints do not say and the model's config does: the processor's name, the config's keys.
_FROM_CONFIG = {"patch_size": ("vision_config", "patch_size"),
                "vision_feature_select_strategy": ("vision_feature_select_strategy",)}


class MediaProcessor:
    """path: the checkpoint's folder. token_ids: {kind: the token that stands for a row}. hf_config: the model's.

    kwargs: arguments of the processor for all prompts (`mm_processor_kwargs`).
    """

    def __init__(self, path: str, token_ids: Mapping[str, int], hf_config: Mapping[str, Any], *,
                 max_pixels: int, trust_remote_code: bool = False, kwargs: Mapping[str, Any] | None = None) -> None:
        self._path, self._token_ids, self._hf_config = path, token_ids, hf_config
        self._trust, self._kwargs, self._lock = trust_remote_code, dict(kwargs or {}), threading.Lock()
        self._max_pixels = max_pixels
        self._loaded: dict[str, tuple[Any, Any]] = {}
        self._whole: tuple[Any, str] | None = None      # the processor, or why there is none

    @property
    def sampling_rate(self) -> int:
        """Samples a second of audio."""
        return self._load("audio")[1].sampling_rate

    @property
    def longest_clip(self) -> int:
        """Samples of the longest clip of which a feature extractor makes one spectrogram (Whisper's)."""
        return self._load("audio")[1].n_samples

    def features(self, samples: np.ndarray, *, field: str, kwargs: Mapping[str, Any]) -> Tensor:
        """[bins, frames], the spectrogram of a clip at `sampling_rate`, by the feature extractor alone. RequestError,
        which names `field`, for a clip that is longer than what the extractor looks at.
        """
        part = self._load("audio")[1]
        if len(samples) > part.n_samples:
            raise RequestError(field, f"{len(samples) / part.sampling_rate:.1f} s",
                               expected=f"at most {part.n_samples / part.sampling_rate:g} s, which the model hears",
                               hint="Cut longer audio into several prompts.")
        values = {"audio": [samples]}
        return self._called(part, values, self._of_part("audio", part, [samples], kwargs))["input_features"][0]

    def of_text(self, text: str, media: Values, *, uuids: Uuids, kwargs: Mapping[str, Any], add_special_tokens: bool
                ) -> ProcessedPrompt:
        """A text with a placeholder for each item. RequestError when they do not match."""
        for kind in media:
            if self._load(kind)[0] is None:
                raise RequestError("prompt", "text", expected=f"prompt_token_ids with one {kind} token for each row of "
                                   "the encoder", hint=f"{self._path} has no processor that takes a text and {kind}.")
        processor, _ = self._load(next(iter(media)))
        found = self._call(processor, text, media, kwargs, add_special_tokens=add_special_tokens)
        ids, made = _ids(found), {}
        for kind, values in media.items():
            own = found if len(media) == 1 else self._of_placeholders(processor, kind, values, kwargs)
            made[kind] = self._counts(kind, processor, found), own
        return self._prompt(ids, made, media, uuids, kwargs)

    def of_ids(self, token_ids: list[int], media: Values, *, uuids: Uuids, kwargs: Mapping[str, Any]
               ) -> ProcessedPrompt:
        """Token ids with one token of its kind for each item, which becomes as many as the item has rows; or with all.
        """
        ids, made = token_ids, {}
        for kind, values in media.items():
            processor, part = self._load(kind)
            if processor is None:
                found = self._called(part, {kind: values}, self._of_part(kind, part, values, kwargs))
                made[kind] = self._counts_of_grids(kind, part, found, token_ids), found
                continue
            parts = [self._of_placeholders(processor, kind, [value], kwargs) for value in values]
            expansions = [(self._replacements(kind, processor, part) or [_ids(part)])[0] for part in parts]
            counts, ids = self._expanded(kind, ids, expansions)
            made[kind] = counts, parts[0] if len(parts) == 1 else self._of_placeholders(processor, kind, values, kwargs)
        return self._prompt(ids, made, media, uuids, kwargs)

    def _expanded(self, kind: str, ids: list[int], expansions: list[list[int]]) -> tuple[list[int], list[int]]:
        """(rows of each item, the prompt with the items' expansions in the places of their tokens)."""
        token_id = self._token_ids[kind]
        num, counts = ids.count(token_id), [each.count(token_id) for each in expansions]
        if num == sum(counts) != len(expansions):
            return counts, ids
        if num != len(expansions):
            raise RequestError("prompt_token_ids", f"{num} {kind} tokens", expected=f"{len(expansions)} {kind} tokens "
                               f"(id {token_id}), one for each item, or {sum(counts)}, one for each row")
        left = iter(expansions)
        return counts, [each for old in ids for each in (next(left) if old == token_id else [old])]

    def _prompt(self, ids: list[int], made: Mapping[str, tuple[list[int] | None, Mapping[str, Any]]], media: Values,
                uuids: Uuids, kwargs: Mapping[str, Any]) -> ProcessedPrompt:
        """made: for each kind the rows of each item, if they are known, and what the processor made of all items."""
        items: list[MediaItem] = []
        for kind, (counts, found) in made.items():
            places = [place for place, token_id in enumerate(ids) if token_id == self._token_ids[kind]]
            if not places:
                raise RequestError("prompt", f"no {kind} token", expected=f"{len(media[kind])} {kind} placeholders",
                                   hint="A chat template puts them in; in a text write the model's own, such as "
                                   f"<{kind}>.")
            tensors = {name: value for name, value in found.items()
                       if isinstance(value, Tensor) and name not in _TEXT_KEYS}
            items += split_items(kind, places, counts, tensors, num=len(media[kind]), uuids=uuids[kind],
                                 content=repr(sorted(self._merged(kwargs).items())))
        return ProcessedPrompt(ids, sorted(items, key=lambda item: item.spans))

    def _counts(self, kind: str, processor: Any, found: Mapping[str, Any]) -> list[int] | None:
        """Rows of each item of a kind, where the processor says what it put in the place of each placeholder."""
        ids = self._replacements(kind, processor, found)
        return None if ids is None else [each.count(self._token_ids[kind]) for each in ids]

    def _replacements(self, kind: str, processor: Any, found: Mapping[str, Any]) -> list[list[int]] | None:
        """The token ids that a processor put in the place of each placeholder of a kind; None: it does not say."""
        offsets = found.get(_OFFSETS)
        if not offsets or not isinstance(offsets, list) or not offsets[0]:
            return None
        texts = [each["replacement"] for each in offsets[0] if each["type"] == kind]
        return processor.tokenizer(texts, add_special_tokens=False)["input_ids"]

    def _counts_of_grids(self, kind: str, part: Any, found: Mapping[str, Any], token_ids: list[int]
                         ) -> list[int] | None:
        """Rows of each item, where grids of patches tell (Qwen-VL), of which some become one row. RequestError for a
        prompt with another number of tokens of the kind.
        """
        grids, side = found.get(f"{kind}_grid_thw"), getattr(part, "merge_size", None)
        if not isinstance(grids, Tensor) or not isinstance(side, int):
            return None
        counts = (grids.prod(-1) // side**2).tolist()
        if (num := token_ids.count(self._token_ids[kind])) != sum(counts):
            raise RequestError("prompt_token_ids", f"{num} {kind} tokens", expected=f"{sum(counts)} {kind} tokens "
                               f"(id {self._token_ids[kind]}), one for each row of {count_of(kind, len(counts))}")
        return counts

    def _of_placeholders(self, processor: Any, kind: str, values: Sequence[Any], kwargs: Mapping[str, Any]
                         ) -> Mapping[str, Any]:
        """What a processor makes of items of one kind and a text of their placeholders."""
        text = getattr(processor, f"{kind}_token") * len(values)
        return self._call(processor, text, {kind: values}, kwargs, add_special_tokens=False)

    def _of_part(self, kind: str, part: Any, values: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of an image processor or feature extractor alone."""
        rate = {"sampling_rate": part.sampling_rate} if kind == "audio" else {}
        given: dict[str, Any] = {_ALONE[kind]: list(values), "return_tensors": "pt"}
        return given | rate | self._merged(kwargs)

    def _call(self, processor: Any, text: str, media: Values, kwargs: Mapping[str, Any], *, add_special_tokens: bool
              ) -> Mapping[str, Any]:
        given = {"text": [text], "return_tensors": "pt", "return_text_replacement_offsets": True,
                 "add_special_tokens": add_special_tokens}
        given |= {ARGUMENTS[kind]: list(values) for kind, values in media.items()}
        if "audio" in media:
            given["sampling_rate"] = processor.feature_extractor.sampling_rate
        return self._called(processor, media, given | self._merged(kwargs))

    def _called(self, processor: Any, media: Values, given: dict[str, Any]) -> Mapping[str, Any]:
        settings = {name: value for name, value in given.items() if name not in DATA_ARGUMENTS}
        if "image" in media:
            check_sizes(settings, getattr(processor, PARTS["image"], processor), self._max_pixels)
        try:
            with self._lock:      # tokenizers of Transformers must not be called by two threads at once
                return processor(**given)
        except Exception as error:      # the processor's own checks: wrong counts, kwargs that it does not know
            what = " and ".join(count_of(kind, len(values)) for kind, values in media.items())
            raise RequestError("multi_modal_data", what, expected="what the model's processor "
                               f"({type(processor).__name__}) takes",
                               hint=f"{type(error).__name__}: {str(error)[:300]}") from error

    def _merged(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._kwargs, **kwargs}

    def _load(self, kind: str) -> tuple[Any, Any]:
        """(processor, its part for a kind); the first is None where the checkpoint has only the second."""
        with self._lock:
            if kind not in self._loaded:
                self._loaded[kind] = self._read(kind)
            return self._loaded[kind]

    def _read(self, kind: str) -> tuple[Any, Any]:
        import transformers

        given: dict[str, Any] = {"trust_remote_code": self._trust, "local_files_only": True}
        if self._whole is None:
            try:
                self._whole = transformers.AutoProcessor.from_pretrained(self._path, **given), ""
                _complete(self._whole[0], self._hf_config)
            except Exception as error:
                self._whole = None, f"{type(error).__name__}: {str(error)[:300]}"
        processor, reason = self._whole
        if processor is not None:
            part = getattr(processor, PARTS[kind], None)
            if part is not None and _expands(processor, kind):
                return processor, part
            reason = f"{type(processor).__name__} processes no {PLURALS[kind]}"
        alone = transformers.AutoFeatureExtractor if kind == "audio" else transformers.AutoImageProcessor
        try:
            return None, alone.from_pretrained(self._path, **given)
        except Exception as error:
            raise ConfigError("model", self._path, expected="a checkpoint with processor_config.json or "
                              f"preprocessor_config.json, as a prompt has {PLURALS[kind]}", hint=reason) from error


def _expands(processor: Any, kind: str) -> bool:
    """Whether a processor puts the places of rows into a text. Voxtral's only renders chats of its own form."""
    from transformers import ProcessorMixin

    own = getattr(type(processor), "replace_audio_token", ProcessorMixin.replace_audio_token)
    return kind != "audio" or own is not ProcessorMixin.replace_audio_token


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
