"""`MULTIMODAL_REGISTRY`: keeps the classes that process media at the model, and makes its processor of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from weft.models.vllm.config_views import ModelConfig
from weft.models.vllm.multimodal.info import InputProcessingContext
from weft.models.vllm.multimodal.processing import BaseMultiModalProcessor

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class ProcessorFactories:
    """The classes (or functions) that process a model's media."""

    processor: Any
    info: Any
    dummy_inputs: Any

    def make_info(self, ctx: InputProcessingContext) -> Any:
        """The model's BaseProcessingInfo."""
        return self.info(ctx)

    def build_processor(self, ctx: InputProcessingContext) -> BaseMultiModalProcessor[Any]:
        """The model's processor."""
        info = self.make_info(ctx)
        return self.processor(info, self.dummy_inputs(info), cache=None)


class MultiModalRegistry:
    """Processors of models with media."""

    def register_processor(self, processor: Any, *, info: Any = None, dummy_inputs: Any = None) -> Callable[[T], T]:
        """Class decorator: the model's media are processed by these classes."""
        def mark(cls: T) -> T:
            cls._processor_factory = ProcessorFactories(processor, info, dummy_inputs)      # pyright: ignore
            return cls

        return mark

    def create_processor(self, model_config: ModelConfig, *, model_cls: type, tokenizer: Any = None, **options: Any
                         ) -> BaseMultiModalProcessor[Any]:
        """The processor of a registered class."""
        found = processor_factories(model_cls)
        if found is None:
            raise ValueError(f"{model_cls.__qualname__}: expected a class marked by register_processor")
        return found.build_processor(InputProcessingContext(model_config, tokenizer))

    def _older(self, *args: Any, **kwargs: Any) -> Callable[[T], T]:
        """Class decorator of generation g0: nothing calls what it is given."""
        return lambda cls: cls

    register_image_input_mapper = register_input_mapper = register_max_image_tokens = _older
    register_max_multimodal_tokens = _older


class InputRegistry(MultiModalRegistry):
    """The registry of generation g0, for dummy data and input processors."""

    register_dummy_data = register_input_processor = register_dummy_encoder_data = MultiModalRegistry._older


MULTIMODAL_REGISTRY = MultiModalRegistry()
INPUT_REGISTRY = InputRegistry()


def processor_factories(cls: type) -> ProcessorFactories | None:
    """The classes that were registered for a model; None: none were."""
    found = getattr(cls, "_processor_factory", None)
    return found if isinstance(found, ProcessorFactories) else None
