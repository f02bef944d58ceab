"""`PrefillPace`: how much of long prompts a step takes beside sequences that decode, so that these keep their pace.

A step without prompts takes mostly the time of reading the weights; each token of a prompt adds its own. Both are
measured, because their ratio (a few tokens to some hundreds) depends on model, machine and number format.
This module knows no clock: the engine tells how long its steps took.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from weft.engine.step_plan import StepPlan

LONG = 512           # a prompt of more tokens is long; shorter ones are not cut for the sake of pace
LEAST = 16           # tokens that a long prompt gets in any case: a step of few rows costs hardly more than one of one
FIRST = 64           # while nothing is measured
_KEPT = 32           # steps of each kind, whose median counts: a step may be late for reasons of the machine


class PrefillPace:
    """Bounds the long prompts' tokens of a step. slowdown: how many times as long as a step without prompts a step may
    take; None: there is no bound.
    """

    def __init__(self, slowdown: float | None) -> None:
        self._slowdown = slowdown
        self._is_bounded, self._num_taken = False, 0      # the open step, and its tokens of long prompts
        self._plain = deque[float](maxlen=_KEPT)      # seconds of steps without prompts
        self._token = deque[float](maxlen=_KEPT)      # seconds that a prompt's token added to a step

    @property
    def limit(self) -> int:
        """Tokens of long prompts in a step beside sequences that decode."""
        if not self._plain or not self._token:
            return FIRST
        assert self._slowdown is not None, "without a bound nothing is noted"
        spare, each = (self._slowdown - 1) * median(self._plain), median(self._token)
        return max(LEAST, int(spare / each)) if each > 0 else 2**31

    def begin(self, num_decodes: int) -> None:
        """A step with so many sequences that decode is being planned. Alone a prompt takes what a step has."""
        self._is_bounded, self._num_taken = self._slowdown is not None and num_decodes > 0, 0

    def cut(self, num_tokens: int, num_prompt_tokens: int) -> int:
        """As many of `num_tokens` tokens as the open step may take of a prompt of this length."""
        if not self._is_bounded or num_prompt_tokens <= LONG:
            return num_tokens
        return min(num_tokens, max(self.limit - self._num_taken, LEAST))

    def took(self, num_tokens: int, num_prompt_tokens: int) -> None:
        """The open step takes `num_tokens` of a prompt of this length."""
        if num_prompt_tokens > LONG:
            self._num_taken += num_tokens

    def note(self, plan: StepPlan, seconds: float) -> None:
        """A step has taken so long."""
        if self._slowdown is None:
            return
        num_added = sum(item.num_new_tokens for item in plan.scheduled if item.num_new_tokens > 1 and not item.drafts)
        if not num_added:
            self._plain.append(seconds)
        elif self._plain and num_added >= LEAST:
            self._token.append(max(0.0, seconds - median(self._plain)) / num_added)
