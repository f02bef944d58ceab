"""The description of a resolved model, as the engine gets one."""

from __future__ import annotations

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture
from weft.architectures.spec import ModelSpec
from weft.config.engine_config import ModelConfig
from weft.models.choose import choose_model
from weft.models.describe import describe


def description_of(model: ModelConfig) -> tuple[ModelSpec, ConfigReader]:
    """(spec, reader that knows which keys were read) of a model that is described, not programmed."""
    chosen = choose_model(model)
    assert isinstance(chosen, Architecture), f"{model.architecture} is programmed"
    return describe(model, chosen)
