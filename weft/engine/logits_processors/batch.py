"""`BatchProcessors`: the engine's logits processors, made once, told of the batch, and applied to a step's rows."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from weft.engine.logits_processors.interface import AdapterLogitsProcessor, LogitsProcessor
from weft.engine.logits_processors.places import Places
from weft.engine.sequence import Sequence
from weft.errors import ConfigError, RequestError
from weft.sampling_params import SamplingParams


class BatchProcessors:
    """The processors of an engine. classes: in the order in which they are applied.

    ConfigError for a class that cannot be made.
    """

    def __init__(self, classes: Seq[type[LogitsProcessor]], vllm_config: Any) -> None:
        self._classes, self._vllm_config = classes, vllm_config
        self._make()

    def _make(self) -> None:
        self._places, self._update = Places(), None
        self._processors = [_made(cls, self._vllm_config) for cls in self._classes]
        self._are_invariant = [_is_invariant(processor) for processor in self._processors]

    def check(self, params: SamplingParams) -> None:
        """RequestError for parameters that a processor refuses."""
        for cls in self._classes:
            validate = getattr(cls, "validate_params", None)      # older classes have none
            try:
                if validate is not None:
                    validate(params)
            except (Exception, SystemExit) as error:
                raise RequestError("extra_args", params.extra_args, expected=f"what {cls.__name__} takes",
                                   hint=str(error)) from error

    def begin(self, seqs: Seq[Sequence]) -> None:
        """Tell all processors of the step's requests, one for each row. An exception makes them all anew."""
        update = self._places.update(seqs)
        try:
            for processor in self._processors:
                with _without_exit(processor):
                    processor.update_state(update)
        except Exception:
            self._make()                                      # what each knows of the batch may be half of the update
            raise

    def apply(self, logits: Tensor, seqs: Seq[Sequence], temperatures: Seq[float] | None) -> dict[int, str]:
        """Apply processors to the rows of a step, in place.

        logits: [S, V], row i of seqs[i]. temperatures: None: the processors that may change the likeliest token;
        else those that never do, on logits divided by these, 0 for greedy rows.
        Returns {row: what went wrong} of the requests that are to end.
        """
        chosen = [processor for processor, is_invariant in zip(self._processors, self._are_invariant, strict=True)
                  if is_invariant == (temperatures is not None)]
        if not chosen or (temperatures is not None and not any(temperatures)):
            return {}
        rows = {id(seq): row for row, seq in enumerate(seqs)}
        order = [rows[id(seq)] for seq in self._places.seqs]
        batch = logits[order]
        scale = None
        if temperatures is not None:
            scale = torch.tensor([temperatures[row] or 1.0 for row in order]).unsqueeze(1)
            batch /= scale
        errors: dict[int, str] = {}
        for processor in chosen:
            batch, failed = _applied(processor, batch)
            errors |= {order[index]: f"{type(processor).__name__}: {type(error).__name__}: {error}"
                       for index, error in failed.items()}
        logits[order] = batch if scale is None else batch * scale
        return errors


def _applied(processor: LogitsProcessor, batch: Tensor) -> tuple[Tensor, dict[int, BaseException]]:
    if isinstance(processor, AdapterLogitsProcessor) and type(processor).apply is AdapterLogitsProcessor.apply:
        return batch, processor.apply_rows(batch)
    with _without_exit(processor):
        result = processor.apply(batch)
    if not isinstance(result, Tensor) or result.shape != batch.shape:
        found = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise ValueError(f"{type(processor).__name__}.apply returned {found}, expected logits {list(batch.shape)}")
    return result, {}


@contextmanager
def _without_exit(processor: LogitsProcessor) -> Iterator[None]:
    """sys.exit of a user's code is an error of the request, and does not end the engine."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"{type(processor).__name__} raised SystemExit: {error}") from error


def _is_invariant(processor: LogitsProcessor) -> bool:
    try:
        return bool(processor.is_argmax_invariant())
    except (Exception, SystemExit) as error:
        raise ConfigError("logits_processors", type(processor).__name__, hint=f"{type(error).__name__}: {error}",
                          expected="a class whose is_argmax_invariant() says True or False") from error


def _made(cls: type[LogitsProcessor], vllm_config: Any) -> LogitsProcessor:
    try:
        return cls(vllm_config, torch.device("cpu"), False)
    except (Exception, SystemExit) as error:
        raise ConfigError("logits_processors", cls.__name__, hint=f"{type(error).__name__}: {error}",
                          expected="a class made by (vllm_config, device, is_pin_memory)") from error
