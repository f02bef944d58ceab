"""Sampling as models of generation g0 name it. weft samples outside the model, so none of this is ever called."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import nn

from weft.errors import NotBuiltError


class SamplingMetadata:
    """What vLLM's sampler is told about requests: a name for annotations. `compute_logits` gets None."""


class SamplerOutput:
    """What vLLM's sampler returns: a name for annotations."""


class Sampler(nn.Module):
    """A module that models hold and that the engine never calls."""

    def __init__(self, *unused: Any, **options: Any) -> None:
        super().__init__()

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """NotBuiltError."""
        raise NotBuiltError("Sampler", "called", expected="compute_logits to return logits",
                            hint="weft samples by itself; a model's own sampling is not run.")


def get_sampler() -> Sampler:
    """The sampler of a model."""
    return Sampler()
