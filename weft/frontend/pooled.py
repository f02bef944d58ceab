"""The one output of a pooling request: `WiredOutput`, as the engine sent it, and the forms that callers ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from weft.engine.process.messages import WireTensor
from weft.outputs import (
    ClassificationOutput,
    ClassificationRequestOutput,
    EmbeddingOutput,
    EmbeddingRequestOutput,
    PoolingOutput,
    PoolingRequestOutput,
    ScoringOutput,
    ScoringRequestOutput,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

R = TypeVar("R", bound=PoolingRequestOutput)


def as_embedding(output: PoolingRequestOutput[PoolingOutput]) -> EmbeddingRequestOutput:
    """The output of the task "embed", with the vector as a list of numbers."""
    return _as(output, EmbeddingRequestOutput, EmbeddingOutput.from_base)


def as_classification(output: PoolingRequestOutput[PoolingOutput]) -> ClassificationRequestOutput:
    """The output of the task "classify", with the labels' numbers as a list."""
    return _as(output, ClassificationRequestOutput, ClassificationOutput.from_base)


def as_score(output: PoolingRequestOutput[PoolingOutput]) -> ScoringRequestOutput:
    """The output of a pair, with its one number."""
    return _as(output, ScoringRequestOutput, ScoringOutput.from_base)


def _as(output: PoolingRequestOutput[PoolingOutput], cls: Callable[..., R], read: Callable[[PoolingOutput], Any]) -> R:
    return cls(request_id=output.request_id, outputs=None if output.outputs is None else read(output.outputs),
               prompt_token_ids=output.prompt_token_ids, num_cached_tokens=output.num_cached_tokens,
               finished=output.finished, error=output.error)


class WiredOutput(PoolingOutput):
    """A PoolingOutput as it came from the engine. `data` makes the tensor at its first use."""

    def __init__(self, wire: WireTensor) -> None:
        self._wire, self._tensor = wire, None

    @property
    def data(self) -> Tensor:      # pyright: ignore[reportIncompatibleVariableOverride]
        """The tensor, in memory of its own."""
        if self._tensor is None:
            self._tensor = _tensor(self._wire)
        return self._tensor

    @property
    def array(self) -> NDArray[Any]:
        """The numbers without torch: read-only, in the engine's message. Types that numpy has not become float32."""
        if self._wire.dtype == "bfloat16":
            return self.data.float().numpy()
        return np.frombuffer(self._wire.data, dtype=self._wire.dtype).reshape(self._wire.shape)


def _tensor(wire: WireTensor) -> Tensor:
    from weft.engine.process.wire_tensor import from_wire  # needs torch, which is slow to import

    return from_wire(wire)
