"""`StepReplay`: short steps recorded once for each shape, then made again by one native call (GPUs: graph capture).

A decode step of a small model is some hundred native calls of microseconds; the Python between these calls would cost
as much as a tenth of the step. Steps of one `shape_key` make the same calls with the same arguments. Only what the
calls read differs, and a replay first copies that to where the recording reads it. Knows no attention and no state.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from torch import Tensor

from weft.architectures.spec import Rope
from weft.layers.calls import Watch
from weft.layers.scratch import Scratch
from weft.ops.native import unavailable
from weft.ops.step import MAX_RECORDED_ROWS, Step
from weft.ops.tape import Recording

_MAX_RECORDINGS = 8            # shapes that are kept, those used last

logger = logging.getLogger("weft")

Angles = dict[Rope, tuple[Tensor, Tensor]]
Blocks = Callable[[Tensor, Angles, Step], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recording, and the tensors and the step that its calls read."""

    recording: Recording
    hidden: Tensor
    angles: Angles
    step: Step
    result: Tensor

    def replay(self, hidden: Tensor, angles: Angles, step: Step) -> Tensor:
        """The step's result [T, E], overwritten by the next replay."""
        self.hidden.copy_(hidden)
        for rope, (cos, sin) in angles.items():
            self.angles[rope][0].copy_(cos)
            self.angles[rope][1].copy_(sin)
        self.step.assign(step)
        self.recording.replay()
        step.take_taps(self.step)
        return self.result


class StepReplay:
    """Runs a model's blocks, by a recording where there is one.

    scratch: of the model's layers; recordings use separate buffers. watch: over the layers; while it says that one is
    changed, nothing is recorded and nothing made again.
    refusal: why nothing is recorded; None: steps are.
    blocks(hidden [T, E], angles, step) -> [T, E] may change `hidden`. Of the step it reads what `Step.assign` copies.
    """

    def __init__(self, isa: str, device: str, scratch: Scratch, watch: Watch) -> None:
        self._isa, self._scratch, self._watch = isa, scratch, watch
        self._memory = Scratch(MAX_RECORDED_ROWS)
        self._recordings: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._last_key: Hashable | None = None
        self.refusal = unavailable(device, isa)

    def run(self, hidden: Tensor, angles: Angles, step: Step, blocks: Blocks) -> Tensor:
        """[T, E] -> [T, E]. The second step in a row with the same `shape_key` is recorded."""
        key = None if self.refusal is not None or self._watch.is_changed else step.shape_key
        is_again, self._last_key = key == self._last_key, key
        if key is None:
            return blocks(hidden, angles, step)
        if key in self._recordings:
            self._recordings.move_to_end(key)
            return self._recordings[key].replay(hidden, angles, step)
        if not is_again:
            return blocks(hidden, angles, step)
        return self._record(key, hidden, angles, step, blocks)

    def forget(self) -> None:
        """Drop the recordings: the model has changed."""
        self._recordings.clear()

    def _record(self, key: Hashable, hidden: Tensor, angles: Angles, step: Step, blocks: Blocks) -> Tensor:
        recording, recorded = Recording(self._isa), step.with_own_taps()
        with self._scratch.lent(self._memory), recording:
            result = blocks(hidden, angles, recorded)
        step.take_taps(recorded)
        if recording.spoilers:
            self.refusal = f"its layers use {', '.join(sorted(recording.spoilers))}"
            logger.debug("steps are not recorded: %s", self.refusal)
            return result
        self._recordings[key] = Recorded(recording=recording, hidden=hidden, angles=angles, step=recorded,
                                        result=result)
        if len(self._recordings) > _MAX_RECORDINGS:
            self._recordings.popitem(last=False)
        return result
