"""`StepReplay`: decode steps recorded once for each number of sequences, then made again by one native call.

A decode step of a small model is some hundred native calls of microseconds; what Python does between them would cost as
much as a tenth of the step. The blocks' calls have the same arguments in each step of as many sequences, but for what
the step reads, which is copied to where the recording looks for it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from weft.architectures.spec import Rope
from weft.layers.scratch import Scratch
from weft.ops.attention import AttentionPlan
from weft.ops.native import unavailable
from weft.ops.tape import Recording

MAX_NUM_SEQS = 64              # steps of more are long enough to hide Python
_MAX_RECORDINGS = 8            # numbers of sequences that are kept, those used last

logger = logging.getLogger("weft")

Angles = dict[Rope, tuple[Tensor, Tensor]]
Blocks = Callable[[Tensor, Angles, Sequence[AttentionPlan]], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recording and what it reads and writes: its own tensors, and the plans that a step's plans are assigned to."""

    recording: Recording
    hidden: Tensor
    angles: Angles
    plans: tuple[AttentionPlan, ...]
    result: Tensor

    def replay(self, hidden: Tensor, angles: Angles, plans: Sequence[AttentionPlan]) -> Tensor:
        """The step's result, overwritten by the next replay."""
        self.hidden.copy_(hidden)
        for rope, (cos, sin) in angles.items():
            self.angles[rope][0].copy_(cos)
            self.angles[rope][1].copy_(sin)
        for mine, plan in zip(self.plans, plans, strict=True):
            mine.native.assign(plan.native)
        self.recording.replay()
        return self.result


class StepReplay:
    """Runs a model's blocks, by a recording where there is one.

    scratch: of the model's layers; recordings use memory of their own for it.
    blocks(hidden [T, E], angles, plans) -> [T, E] may change `hidden`, and reads nothing else that changes.
    """

    def __init__(self, isa: str, device: str, scratch: Scratch) -> None:
        self._isa, self._scratch = isa, scratch
        self._memory = Scratch(MAX_NUM_SEQS)
        self._recordings: OrderedDict[int, Recorded] = OrderedDict()
        self._last_num_seqs = 0
        self.refusal = unavailable(device, isa)          # why nothing is recorded; None: it is

    def run(self, hidden: Tensor, angles: Angles, plans: Sequence[AttentionPlan], blocks: Blocks) -> Tensor:
        """[T, E] -> [T, E]. The second step in a row with as many sequences, all decoding, is recorded."""
        num_seqs, plan = hidden.shape[0], plans[0]
        only_decodes = plan.num_decodes == len(plan.seq_lens) == num_seqs <= MAX_NUM_SEQS
        is_again, self._last_num_seqs = num_seqs == self._last_num_seqs, num_seqs
        if self.refusal is not None or not only_decodes:
            return blocks(hidden, angles, plans)
        if num_seqs in self._recordings:
            self._recordings.move_to_end(num_seqs)
            return self._recordings[num_seqs].replay(hidden, angles, plans)
        if not is_again:
            return blocks(hidden, angles, plans)
        return self._record(hidden, angles, tuple(plans), blocks)

    def forget(self) -> None:
        """Drop the recordings: the model has changed."""
        self._recordings.clear()

    def _record(self, hidden: Tensor, angles: Angles, plans: tuple[AttentionPlan, ...], blocks: Blocks) -> Tensor:
        recording = Recording(self._isa)
        with self._scratch.lent(self._memory), recording:
            result = blocks(hidden, angles, plans)
        if recording.spoilers:
            self.refusal = f"its layers use {', '.join(sorted(recording.spoilers))}"
            logger.debug("decode steps are not recorded: %s", self.refusal)
            return result
        self._recordings[hidden.shape[0]] = Recorded(recording=recording, hidden=hidden, angles=angles, plans=plans,
                                                     result=result)
        if len(self._recordings) > _MAX_RECORDINGS:
            self._recordings.popitem(last=False)
        return result
