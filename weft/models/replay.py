"""`StepReplay`: short steps recorded once for each shape, then made again by one native call (GPUs: graph capture).

A decode step of a small model is some hundred native calls of microseconds; the Python between these calls would cost
as much as a tenth of the step. Steps of one `shape_key` make the same calls with the same arguments. Only what the
calls read differs, and a replay first copies that to where the recording reads it. Knows no attention and no state.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from weft.layers.scratch import Scratch
from weft.ops.arena import Arena
from weft.ops.native import unavailable
from weft.ops.step import MAX_RECORDED_ROWS, Step
from weft.ops.tape import Recording

_MAX_RECORDINGS = 8            # shapes that are kept, those used last

logger = logging.getLogger("weft")

Inputs = Sequence[Tensor]
Body = Callable[[Inputs, Step], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recording, and the tensors and the step that its calls read."""

    recording: Recording
    inputs: Inputs
    step: Step
    result: Any

    def replay(self, inputs: Inputs, step: Step) -> Any:
        """The step's result, overwritten by the next replay."""
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.step.assign(step)
        self.recording.replay()
        step.take_taps(self.step)
        return self.result


class Watching(Protocol):
    """Says whether code from outside has changed a model's modules (`layers/calls.py`)."""

    @property
    def is_changed(self) -> bool: ...


class StepReplay:
    """Runs a body of native calls, by a recording where there is one.

    scratch: buffers of the model's layers; recordings use separate ones. watch: over the modules; while it says that
    one is changed, nothing is recorded and nothing made again.
    refusal: why nothing is recorded; None: steps are.
    body(inputs, step) may change its inputs. Of the step it reads what `Step.assign` copies; the rest are `inputs`.
    """

    def __init__(self, isa: str, device: str, scratch: Scratch, watch: Watching) -> None:
        self._isa, self._scratch, self._watch = isa, scratch, watch
        self._memory, self._arena = Scratch(MAX_RECORDED_ROWS), Arena()
        self._recordings: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._last_key: Hashable | None = None
        self.refusal = unavailable(device, isa)

    def run(self, inputs: Inputs, step: Step, body: Body) -> Any:
        """The body's result. The second step in a row with the same `shape_key` is recorded."""
        key = self.key(step)
        return self.repeat(key, inputs, step, body) if self.is_due(key) else body(inputs, step)

    def key(self, step: Step, call: Hashable = None) -> Hashable | None:
        """The key under which a step is recorded; None: it is not.

        call: what besides the step's shape decides which native calls are made.
        """
        shape = None if self.refusal is not None or self._watch.is_changed else step.shape_key
        return shape if shape is None or call is None else (shape, call)

    def is_due(self, key: Hashable | None) -> bool:
        """Whether a step with this key is to be recorded or replayed. Asked once for each step, in order."""
        is_again, self._last_key = key == self._last_key, key
        return key is not None and (is_again or key in self._recordings)

    def repeat(self, key: Hashable, inputs: Inputs, step: Step, body: Body) -> Any:
        """The body's result by the recording of this key, or recorded now."""
        if key not in self._recordings:
            return self._record(key, inputs, step, body)
        self._recordings.move_to_end(key)
        return self._recordings[key].replay(inputs, step)

    def __contains__(self, key: Hashable | None) -> bool:
        """Whether there is a recording."""
        return key in self._recordings

    def forget(self) -> None:
        """Drop the recordings: the model has changed."""
        self._recordings.clear()
        self._last_key = None

    def refuse(self, reason: str) -> None:
        """Record nothing from now on, and drop what was recorded."""
        self.refusal = reason
        self.forget()
        logger.debug("steps are not recorded: %s", reason)

    def _record(self, key: Hashable, inputs: Inputs, step: Step, body: Body) -> Any:
        recording, recorded = Recording(self._isa, self._arena), step.with_own_taps()
        inputs = [x.clone() for x in inputs]
        with self._scratch.lent(self._memory), recording:
            result = body(inputs, recorded)
        step.take_taps(recorded)
        if recording.spoilers:
            self.refuse(f"its layers use {', '.join(sorted(recording.spoilers))}")
            return result
        self._recordings[key] = Recorded(recording=recording, inputs=inputs, step=recorded, result=result)
        if len(self._recordings) > _MAX_RECORDINGS:
            self._recordings.popitem(last=False)
        return result
