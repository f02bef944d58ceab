"""The result of a step for each sequence: drawn tokens up to the first rejected draft, and rows of extra outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest

from torch import Tensor

from weft.engine.process.messages import TokenLogprobs, WireTensor
from weft.engine.process.wire_tensor import to_wire
from weft.engine.sample_row import SampleRow
from weft.engine.sampler import Sampled
from weft.engine.step_plan import Scheduled, StepPlan
from weft.ops.step import Step


@dataclass(slots=True)
class SequenceResult:
    """The result of a step for one scheduled sequence.

    error: why the sequence cannot go on; then `token_ids` is empty.
    is_dead_end: the sequence's own parameters forbid every token; nothing has failed.
    """

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs] | None = None
    pooled: WireTensor | None = None
    extra_outputs: dict[str, WireTensor] | None = None
    error: str | None = None
    is_dead_end: bool = False

    def cut(self, num_tokens: int) -> None:
        """Keeps the first `num_tokens` tokens and their log-probabilities only."""
        del self.token_ids[num_tokens:]
        if self.logprobs is not None:
            del self.logprobs[num_tokens:]


def sample_rows(item: Scheduled) -> list[SampleRow]:
    """The rows that a sequence samples in a step: one after each draft, and one before the first."""
    return [SampleRow(item.seq, item.drafts[:count]) for count in range(item.num_rows)]


def extra_names(step_plan: StepPlan) -> dict[str, None]:
    """The extra outputs that sequences of a step ask for."""
    return {name: None for item in step_plan.scheduled if not item.seq.is_pooling
            for name in item.seq.request.sampling.extra_outputs or ()}


def give_extra(step_plan: StepPlan, step: Step, extra: dict[str, Tensor], results: list[SequenceResult]) -> None:
    """Each sequence's rows of extra outputs [T, ...], without those that left the engine before, or rejected drafts."""
    row = 0
    for item, count, result in zip(step_plan.scheduled, step.query_lens, results, strict=True):
        names = None if item.seq.is_pooling else item.seq.request.sampling.extra_outputs
        if names and result.error is None:
            first = row + max(item.seq.num_extra_rows - item.start, 0)
            last = row + item.num_kept(len(result.token_ids))
            if first < last:
                result.extra_outputs = {name: to_wire(extra[name][first:last]) for name in names}
        row += count


def accept(item: Scheduled, samples: list[Sampled], result: SequenceResult) -> None:
    """Appends samples to the result, up to and including the first that differs from its draft.

    An error in a later row ends the acceptance without an error: the next step samples that row again as its first.
    """
    if samples and samples[0].error is not None:
        result.error, result.is_dead_end = samples[0].error, samples[0].is_dead_end
        return
    for sample, draft in zip_longest(samples, item.drafts):
        if sample.error is not None:
            return
        result.token_ids.append(sample.token_id)
        if sample.logprobs is not None:
            result.logprobs = [*(result.logprobs or ()), sample.logprobs]
        if sample.token_id != draft:
            return
