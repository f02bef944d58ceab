"""`BaseProcessingInfo`, `BaseDummyInputsBuilder`: what a model's processing asks about checkpoint and configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from weft.errors import ConfigError
from weft.models.vllm.config_views import ModelConfig
from weft.models.vllm.multimodal.data import MultiModalDataItems, MultiModalDataParser

I = TypeVar("I")      # noqa: E741  a BaseProcessingInfo


class InputProcessingContext:
    """The model's configuration and tokenizer, and the processors that Transformers has for the checkpoint."""

    def __init__(self, model_config: ModelConfig, tokenizer: Any = None) -> None:
        self.model_config, self._tokenizer = model_config, tokenizer
        self._processors: dict[Any, Any] = {}

    @property
    def tokenizer(self) -> Any:
        """Transformers' tokenizer of the checkpoint, loaded when it is first asked for."""
        if self._tokenizer is None:
            self._tokenizer = cached_tokenizer_from_config(self.model_config)
        return self._tokenizer

    def get_tokenizer(self) -> Any:
        """As `tokenizer`."""
        return self.tokenizer

    def get_hf_config(self, typ: Any = None, /) -> Any:
        """The checkpoint's config. TypeError when it is not of the class `typ`, or of one of these classes."""
        config = self.model_config.hf_config
        return config if typ is None else _of_type(config, typ)

    def get_mm_config(self) -> Any:
        """Settings about media."""
        return self.model_config.get_multimodal_config()

    def get_merged_mm_kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of all prompts with those of one."""
        return self.get_mm_config().merge_mm_processor_kwargs(dict(kwargs))

    def get_hf_processor(self, typ: Any = None, /, **kwargs: Any) -> Any:
        """Transformers' processor of the checkpoint, or one of the class `typ`. kwargs: its settings."""
        merged = self.get_merged_mm_kwargs(kwargs)
        key = typ, repr(sorted(merged.items(), key=str))
        if key not in self._processors:
            made = cached_processor_from_config(self.model_config, typ, tokenizer=self.tokenizer, **merged)
            self._processors[key] = made if typ is None else _of_type(made, typ)
        return self._processors[key]

    def get_hf_image_processor(self, **kwargs: Any) -> Any:
        """Transformers' image processor of the checkpoint."""
        import transformers

        return transformers.AutoImageProcessor.from_pretrained(
            self.model_config.model, trust_remote_code=self.model_config.trust_remote_code, **kwargs)

    def init_processor(self, typ: Any, /, **kwargs: Any) -> Any:
        """A processor of a class of the model's own."""
        return typ(**_accepted(typ.__init__, self.get_merged_mm_kwargs(kwargs)))

    def call_hf_processor(self, hf_processor: Any, data: Mapping[str, Any], kwargs: Mapping[str, Any] = {}, **more: Any
                          ) -> Any:
        """What a processor makes of texts and media, floats in the model's dtype."""
        settings = _accepted(hf_processor.__call__, {**self.get_merged_mm_kwargs(kwargs), **more})
        found = hf_processor(**{**data, **settings, "return_tensors": "pt"})
        return type(found)({key: _cast(value, self.model_config.dtype) for key, value in found.items()})


@dataclass(frozen=True)
class TokenizeParams:
    """How the prompt's text becomes tokens: arguments of the tokenizer that differ from the request's."""

    kwargs: dict[str, Any] = field(default_factory=dict)

    def with_kwargs(self, **kwargs: Any) -> TokenizeParams:
        """A copy with other arguments."""
        return TokenizeParams({**self.kwargs, **kwargs})


class BaseProcessingInfo:
    """Facts about a model's media. Subclasses say at least which there may be (`get_supported_mm_limits`)."""

    skip_prompt_length_check = False

    def __init__(self, ctx: InputProcessingContext) -> None:
        self.ctx = ctx

    @property
    def model_id(self) -> str:
        """The checkpoint."""
        return self.ctx.model_config.model

    def get_tokenizer(self) -> Any:
        """Transformers' tokenizer."""
        return self.ctx.tokenizer

    def get_hf_config(self) -> Any:
        """The checkpoint's config."""
        return self.ctx.get_hf_config()

    def get_hf_processor(self, **kwargs: Any) -> Any:
        """Transformers' processor."""
        return self.ctx.get_hf_processor(**kwargs)

    def get_default_tok_params(self) -> TokenizeParams:
        """Of prompts' texts."""
        return TokenizeParams()

    def get_data_parser(self) -> MultiModalDataParser:
        """What makes items of the user's media."""
        return MultiModalDataParser()

    @cached_property
    def data_parser(self) -> MultiModalDataParser:
        """`get_data_parser`."""
        return self.get_data_parser()

    def parse_mm_data(self, mm_data: Mapping[str, Any], *, validate: bool = True) -> MultiModalDataItems:
        """The items of the user's media."""
        return self.data_parser.parse_mm_data(mm_data)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """{modality: most items of a prompt}; None: any number."""
        raise NotImplementedError(f"{type(self).__qualname__}.get_supported_mm_limits")

    @property
    def supported_mm_limits(self) -> Mapping[str, int | None]:
        """`get_supported_mm_limits`."""
        return self.get_supported_mm_limits()

    def get_allowed_mm_limits(self) -> Mapping[str, int]:
        """{modality: most items of a prompt}, by the model and the user."""
        config, found = self.ctx.get_mm_config(), {}
        for modality, limit in self.get_supported_mm_limits().items():
            wanted = config.get_limit_per_prompt(modality)
            found[modality] = wanted if limit is None else min(wanted, limit)
        return found

    @property
    def allowed_mm_limits(self) -> Mapping[str, int]:
        """`get_allowed_mm_limits`."""
        return self.get_allowed_mm_limits()

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int] | None:
        """{modality: most tokens of an item}; None: not known."""
        return None


@dataclass
class ProcessorInputs:
    """What a processor is given. mm_data, mm_data_items: media of two generations, raw or as items."""

    prompt: Any
    mm_data: Mapping[str, Any] = field(default_factory=dict)
    mm_data_items: Any = None
    hf_processor_mm_kwargs: Mapping[str, Any] = field(default_factory=dict)
    tokenization_kwargs: Mapping[str, Any] = field(default_factory=dict)
    mm_items: Any = None
    mm_uuid_items: Any = None

    @property
    def prompt_text(self) -> Any:
        """`prompt`: an older name."""
        return self.prompt


class BaseDummyOptions:
    """Sizes of media that vLLM plans memory for."""


class ImageDummyOptions(BaseDummyOptions):
    """As BaseDummyOptions."""


class BaseDummyInputsBuilder(Generic[I]):
    """Makes media to try a model with. weft asks only for the text."""

    def __init__(self, info: I) -> None:
        self.info = info

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """A text with the placeholders of so many items."""
        made = getattr(self, "get_dummy_processor_inputs", None)
        if made is None:
            raise NotImplementedError(f"{type(self).__qualname__}.get_dummy_text")
        return made(0, mm_counts).prompt

    def _get_dummy_images(self, *, width: int, height: int, num_images: int, overrides: Any = None) -> list[Any]:
        if not num_images:
            return []
        from PIL import Image

        return [Image.new("RGB", (width, height), color=255)] * num_images

    def _get_dummy_audios(self, *, length: int, num_audios: int, overrides: Any = None) -> list[np.ndarray]:
        return [np.zeros(length)] * num_audios

    def _get_dummy_videos(self, *, width: int, height: int, num_frames: int, num_videos: int, overrides: Any = None
                          ) -> list[np.ndarray]:
        return [np.full((num_frames, height, width, 3), 255, dtype=np.uint8)] * num_videos


def cached_tokenizer_from_config(model_config: ModelConfig, **kwargs: Any) -> Any:
    """Transformers' tokenizer of a checkpoint."""
    import transformers

    return transformers.AutoTokenizer.from_pretrained(
        model_config.tokenizer or model_config.model, trust_remote_code=model_config.trust_remote_code, **kwargs)


def cached_processor_from_config(model_config: ModelConfig, processor_cls: Any = None, **kwargs: Any) -> Any:
    """Transformers' processor of a checkpoint; or one of a class, which is made without the checkpoint's files if it is
    none of Transformers'. ConfigError when it cannot be loaded.
    """
    import transformers

    is_one = isinstance(processor_cls, type) and processor_cls is not transformers.ProcessorMixin
    if is_one and not hasattr(processor_cls, "from_pretrained"):
        return processor_cls(**_accepted(processor_cls.__init__, kwargs))
    loader = processor_cls if is_one else transformers.AutoProcessor
    try:
        return loader.from_pretrained(model_config.model, trust_remote_code=model_config.trust_remote_code, **kwargs)
    except (OSError, ValueError) as error:
        raise ConfigError("model", model_config.model, expected="a checkpoint with a processor's files, as a prompt "
                          "has media", hint=f"{type(error).__name__}: {str(error)[:300]}") from error


def _of_type(found: Any, typ: Any) -> Any:
    if not isinstance(found, typ):
        raise TypeError(f"{type(found).__name__}: expected {typ}")
    return found


def _accepted(function: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a function takes."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(kwargs)
    return {name: value for name, value in kwargs.items() if name in parameters}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    return [_cast(entry, dtype) for entry in value] if isinstance(value, list | tuple) else value
