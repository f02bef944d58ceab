"""The interface of logits processors that users write. Files written for vLLM import these objects as
`vllm.v1.sample.logits_processor`; names, arguments and their meaning are vLLM's (V1).

A `LogitsProcessor` sees all requests of a step at once: row i of the logits belongs to the request at index i, and
`update_state` tells who came, left or moved since the step before. An `AdapterLogitsProcessor` makes a function for
each request instead.
"""

from __future__ import annotations

import enum
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weft.sampling_params import SamplingParams

# fn(output token ids, logits [V]) -> [V], or fn(prompt token ids, output token ids, logits) -> [V].
RequestLogitsProcessor = Callable[..., Tensor]
AddedRequest = tuple[int, SamplingParams, list[int] | None, list[int]]


class MoveDirectionality(enum.Enum):
    """How requests change places: one moves to an empty place, or two swap."""

    UNIDIRECTIONAL = enum.auto()
    SWAP = enum.auto()


MovedRequest = tuple[int, int, MoveDirectionality]


@dataclass(frozen=True)
class BatchUpdate:
    """Changes of the batch since the last step, to be followed in the order removed, added, moved.

    batch_size: number of requests after the changes.
    removed: indices of requests that left. An index that is added again is not among them.
    added: (index, parameters, prompt token ids, output token ids) of requests that came; the prompt is None where it is
        embeddings. The list of output ids grows with the request: read it, and do not change it.
    moved: (from, to, direction).
    """

    batch_size: int
    removed: Sequence[int]
    added: Sequence[AddedRequest]
    moved: Sequence[MovedRequest]


class LogitsProcessor(ABC):
    """Changes the logits of all requests of a step.

    vllm_config: the engine's configuration as programmed models see it. device: of the logits.
    """

    @classmethod      # noqa: B027
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """ValueError for parameters of a request that this processor cannot use; the request is then refused."""

    @abstractmethod
    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        """Made once, when the engine starts."""

    @abstractmethod
    def apply(self, logits: Tensor) -> Tensor:
        """[S, V] float32 -> [S, V]; the same tensor, changed, or another one."""

    @abstractmethod
    def is_argmax_invariant(self) -> bool:
        """Whether the likeliest token of a row always stays the likeliest. Such a processor is not asked in steps
        where all requests are greedy, and sees logits divided by the temperature.
        """

    @abstractmethod
    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Called before each `apply`. None: the batch is that of the last step."""


class AdapterLogitsProcessor(LogitsProcessor):
    """Runs a function for each request that wants one. Subclasses say which, by `new_req_logits_processor`.

    An exception of that method or of a function ends the one request.
    """

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        # By the request's index: its function, or the error of new_req_logits_processor.
        self._rows: dict[int, Callable[[Tensor], Tensor] | BaseException] = {}

    @abstractmethod
    def new_req_logits_processor(self, params: SamplingParams) -> RequestLogitsProcessor | None:
        """The function for a request with these parameters (`params.extra_args`); None: it wants none."""

    def is_argmax_invariant(self) -> bool:
        """False; override where it is true of every function."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the batch."""
        process_dict_updates(self._rows, batch_update, self._made)

    def apply(self, logits: Tensor) -> Tensor:
        """As LogitsProcessor. The first exception of a function is raised."""
        for error in self.apply_rows(logits).values():
            raise error
        return logits

    def apply_rows(self, logits: Tensor) -> dict[int, BaseException]:
        """Change the rows in place; {index: exception} of the requests whose functions failed."""
        errors: dict[int, BaseException] = {}
        for index, function in self._rows.items():
            if isinstance(function, BaseException):
                errors[index] = function
                continue
            try:
                put_row(logits, index, function(logits[index]))
            except (Exception, SystemExit) as error:      # of a user's code: it ends this request
                errors[index] = error
        return errors

    def _made(self, params: SamplingParams, prompt: list[int] | None,
              output: list[int]) -> Callable[[Tensor], Tensor] | BaseException | None:
        try:
            function = self.new_req_logits_processor(params)
            return None if function is None else bound(function, prompt, output)
        except (Exception, SystemExit) as error:      # of a user's code: it ends this request
            return error


def process_dict_updates(by_index: dict[int, Any], batch_update: BatchUpdate | None,
                         new_state: Callable[[SamplingParams, list[int] | None, list[int]], Any]) -> bool:
    """Follow the batch in a processor's own dict of states by index. Returns whether the dict has changed.

    new_state(parameters, prompt token ids, output token ids): the state of a request that came; None: it has none.
    """
    if batch_update is None:
        return False
    before = dict(by_index)
    for index in batch_update.removed:
        by_index.pop(index, None)
    for index, params, prompt, output in batch_update.added:
        by_index.pop(index, None)
        if (state := new_state(params, prompt, output)) is not None:
            by_index[index] = state
    for first, second, direction in batch_update.moved:
        _move(by_index, first, second, direction)
    return by_index.keys() != before.keys() or any(by_index[index] is not before[index] for index in before)


def bound(function: RequestLogitsProcessor, prompt: list[int] | None,
          output: list[int]) -> Callable[[Tensor], Tensor]:
    """A request's function as one of a row of logits: with the output's token ids, or the prompt's before them."""
    count = _num_arguments(function)
    if count == 3:
        return lambda logits: function(prompt or [], output, logits)
    if count == 2:
        return lambda logits: function(output, logits)
    raise ValueError(f"a logits processor takes (output token ids, logits) or (prompt token ids, output token ids, "
                     f"logits); {getattr(function, '__qualname__', function)} takes {count} arguments")


def put_row(logits: Tensor, index: int, row: Any) -> None:
    """Put what a function returned into a row of logits [S, V]. ValueError unless it is [V]."""
    if not isinstance(row, Tensor) or row.shape != logits[index].shape:
        found = list(row.shape) if isinstance(row, Tensor) else type(row).__name__
        raise ValueError(f"a logits processor returned {found}, expected logits [{logits.shape[1]}]")
    if row.data_ptr() != logits[index].data_ptr():
        logits[index] = row


def _num_arguments(function: RequestLogitsProcessor) -> int:
    parameters = inspect.signature(function).parameters.values()
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in parameters)


def _move(by_index: dict[int, Any], first: int, second: int, direction: MoveDirectionality) -> None:
    missing = object()
    moved, other = by_index.pop(first, missing), by_index.pop(second, missing)
    if moved is not missing:
        by_index[second] = moved
    if other is not missing and direction is MoveDirectionality.SWAP:
        by_index[first] = other
