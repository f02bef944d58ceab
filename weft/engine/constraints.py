"""`Constraints`: the grammars of an engine's sequences. Says for each row of a step which tokens may come next.

A constraint follows its sequence's tokens: before each step it accepts those that are new. So nothing has to be undone
when a step is run again or a sequence is preempted, and a resumed sequence is caught up with in one go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np

from weft.engine.process.messages import EngineRequest
from weft.engine.sequence import Sequence
from weft.engine.step_plan import Scheduled, StepPlan
from weft.errors import RequestError
from weft.grammar.compile_pool import CompilePool
from weft.grammar.constraint import Constraint, ConstraintError, allowed_ids
from weft.grammar.vocabulary import Vocabulary
from weft.structured_outputs import FIELD

_MOST_FORCED = 256      # tokens that a grammar forces and that are taken at once
_NO_TOKEN = "no token of the vocabulary continues the answer's grammar"


@dataclass(slots=True)
class RowMasks:
    """The allowed tokens of a step's constrained rows.

    bits: {row: [V / 32, rounded up] uint32}, as `Constraint.fill` writes them.
    ended: rows before which the answer is whole, and no token may follow. failed: {row: why it has no token}.
    """

    bits: dict[int, np.ndarray] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Followed:
    """A constraint and the number of output tokens that it has accepted, those before the grammar included."""

    constraint: Constraint
    num_output_tokens: int


class Compiled(NamedTuple):
    """A request whose grammar is there, or cannot be used: then `error`."""

    request_id: str
    error: BaseException | None = None


class Constraints:
    """The constraints of all unfinished sequences that have one."""

    def __init__(self) -> None:
        self._pool: CompilePool | None = None
        self._followed: dict[str, _Followed] = {}
        self._compiling: dict[str, EngineRequest] = {}
        self._compiled: SimpleQueue[tuple[EngineRequest, Future[Constraint]]] = SimpleQueue()
        self._thread = ThreadPoolExecutor(1, "weft-masks")      # one, as a constraint is not for two threads

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The bytes of the tokens, before the first request with a grammar."""
        self._pool = CompilePool(vocabulary)

    def start(self, request: EngineRequest) -> None:
        """Starts compiling the grammar of a request; `compiled` says when it is there.

        RequestError if the engine has no vocabulary.
        """
        assert request.constraint is not None, "the request has a grammar"
        if self._pool is None:
            raise RequestError(FIELD, "a form", expected="None, as the engine has no vocabulary",
                               hint="Start it with a tokenizer.")
        self._compiling[request.request_id] = request
        self._pool.start(request.constraint).add_done_callback(lambda done: self._compiled.put((request, done)))

    def compiled(self, *, timeout_s: float = 0.0) -> list[Compiled]:
        """The requests whose grammars have been compiled since the last call. Waits up to `timeout_s` for the first."""
        found: list[Compiled] = []
        with contextlib.suppress(Empty):
            while True:
                request, done = self._compiled.get(timeout=timeout_s if timeout_s and not found else None,
                                                   block=bool(timeout_s and not found))
                if self._compiling.get(request.request_id) is not request:      # it has ended since
                    continue
                del self._compiling[request.request_id]
                error = done.exception()
                if error is None:
                    self._followed[request.request_id] = _Followed(done.result().new(), len(request.forced_token_ids))
                found.append(Compiled(request.request_id, error))
        return found

    def drop(self, request_ids: Iterable[str]) -> None:
        """These sequences have ended. Unknown ids are ignored."""
        for request_id in request_ids:
            self._followed.pop(request_id, None)
            self._compiling.pop(request_id, None)

    def close(self) -> None:
        """Ends the threads and processes that compile."""
        self._thread.shutdown()
        if self._pool is not None:
            self._pool.close()

    def start_masks(self, plan: StepPlan) -> Future[RowMasks] | None:
        """Starts to make a step's masks in a thread, while the model computes; None if no row is constrained."""
        if not any(item.seq.request_id in self._followed for item in plan.scheduled):
            return None
        return self._thread.submit(self.masks, plan)

    def forced(self, seq: Sequence) -> list[int]:
        """The next tokens of a sequence, as far as its grammar allows just one each; [] where the model must be asked.

        They are the tokens that the sampler would draw, so a step need not be spent on each.
        """
        followed = self._followed.get(seq.request_id)
        if followed is None or not _takes_forced(seq):
            return []
        return self._thread.submit(self._find_forced, seq, followed).result()

    def _find_forced(self, seq: Sequence, followed: _Followed) -> list[int]:
        constraint, found, masks = followed.constraint, list[int](), RowMasks()
        try:
            _catch_up(seq, followed)
            if not constraint.forced() and not constraint.is_done:
                return []
            while len(found) < _MOST_FORCED and self._fill_row(seq, constraint, 0, masks):
                only = allowed_ids(masks.bits[0])
                if len(only) != 1:
                    break
                found.append(int(only[0]))
                if found[-1] in seq.end_token_ids:
                    break
                constraint.accept(found[-1])
                followed.num_output_tokens += 1
        except ConstraintError:      # the next step's mask meets it again, and reports it
            pass
        return found

    def masks(self, plan: StepPlan) -> RowMasks:
        """The masks of a step's rows, in the order in which the sampler gets them."""
        masks, row = RowMasks(), 0
        for item in plan.scheduled:
            followed = self._followed.get(item.seq.request_id)
            if followed is not None and item.num_rows:
                self._fill_rows(item, followed, row, masks)
            row += item.num_rows
        return masks

    def _fill_rows(self, item: Scheduled, followed: _Followed, first: int, masks: RowMasks) -> None:
        """Masks of one sequence's rows: after its tokens, and after each draft that the mask before it allows.

        Rows after a draft that is not allowed stay free: the draft will be rejected, and nothing of them is used.
        """
        constraint, num_accepted = followed.constraint, 0
        try:
            _catch_up(item.seq, followed)
            for i in range(item.num_rows):
                if item.seq.num_output_tokens + i < len(item.seq.request.forced_token_ids):
                    continue
                if not self._fill_row(item.seq, constraint, first + i, masks) or i == len(item.drafts):
                    break
                draft = item.drafts[i]
                if not _has(masks.bits[first + i], draft) or draft in item.seq.end_token_ids:
                    break
                constraint.accept(draft)
                num_accepted += 1
            constraint.rollback(num_accepted)
        except ConstraintError as error:
            masks.failed[first] = f"the answer's grammar cannot go on: {error}"

    def _fill_row(self, seq: Sequence, constraint: Constraint, row: int, masks: RowMasks) -> bool:
        """Writes one row's mask. Returns False if the answer has ended, or cannot go on, before this row."""
        assert self._pool is not None, "a constraint was compiled"
        bits = np.zeros(self._pool.num_words, np.uint32)
        constraint.fill(bits)
        request = seq.request
        if request.sampling.ignore_eos:
            _clear(bits, request.eos_token_ids)
        if constraint.is_complete:
            _set(bits, request.sampling.stop_token_ids or ())
        if bits.any():
            masks.bits[row] = bits
            return True
        if constraint.is_complete:
            masks.ended.add(row)
        else:
            masks.failed[row] = _NO_TOKEN
        return False


def _takes_forced(seq: Sequence) -> bool:
    """False if the request's other parameters could forbid a token, or ask for numbers that a step computes."""
    params, request = seq.request.sampling, seq.request
    is_plain = params.logprobs is None and params.extra_outputs is None and not params.mirostat
    is_free = params.allowed_token_ids is None and not request.bad_words_token_ids and not params.logits_processors
    return (is_plain and is_free and seq.num_output_tokens >= params.min_tokens
            and seq.num_output_tokens >= len(request.forced_token_ids))


def _catch_up(seq: Sequence, followed: _Followed) -> None:
    """The constraint accepts the sequence's output tokens that it has not accepted yet."""
    first = seq.num_prompt_tokens + followed.num_output_tokens
    for token_id in seq.token_ids[first:]:
        followed.constraint.accept(token_id)
        followed.num_output_tokens += 1


def _has(bits: np.ndarray, token_id: int) -> bool:
    return bool(bits[token_id >> 5] >> np.uint32(token_id & 31) & np.uint32(1))


def _set(bits: np.ndarray, token_ids: Iterable[int]) -> None:
    for token_id in token_ids:
        bits[token_id >> 5] |= np.uint32(1 << (token_id & 31))


def _clear(bits: np.ndarray, token_ids: Iterable[int]) -> None:
    for token_id in token_ids:
        bits[token_id >> 5] &= ~np.uint32(1 << (token_id & 31))
