"""`SampleRow`: a row of logits and whose it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.engine.sequence import Sequence
from weft.sampling_params import SamplingParams


@dataclass(slots=True, eq=False)
class SampleRow:
    """One row of logits: the distribution of the token after a sequence's tokens and after `drafts`.

    forced_id: the token, if the request says it whatever the logits are.
    """

    seq: Sequence
    drafts: tuple[int, ...] = ()
    forced_id: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.forced_id = self._find_forced()

    @property
    def params(self) -> SamplingParams:
        return self.seq.request.sampling

    @property
    def token_ids(self) -> list[int]:
        """All tokens before the token to sample. Read only: usually the sequence's own list."""
        return [*self.seq.token_ids, *self.drafts] if self.drafts else self.seq.token_ids

    @property
    def num_tokens(self) -> int:
        """The number of tokens before the token to sample, which is also that token's position."""
        return len(self.seq.token_ids) + len(self.drafts)

    @property
    def num_output_tokens(self) -> int:
        """The number of output tokens before the token to sample."""
        return self.num_tokens - self.seq.num_prompt_tokens

    def _find_forced(self) -> int | None:
        request, place = self.seq.request, self.num_output_tokens
        if place < len(request.forced_token_ids):
            return request.forced_token_ids[place]
        budget = self.params.reasoning_budget
        if budget is not None and budget.may_force(place):
            forced = budget.forced_id(self.token_ids[self.seq.num_prompt_tokens :])
            if forced is not None:
                return forced
        return request.last_token_id if self.num_tokens + 1 >= self.seq.max_len else None
