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
from weft.grammar.constraint import Constraint, ConstraintError, only_id
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
    """A constraint and the number of output tokens that it has accepted, those before the grammar included.

    bits: the mask of the next token, where looking for forced tokens has made it.
    """

    constraint: Constraint
    num_output_tokens: int
    bits: np.ndarray | None = None

    def accept(self, token_id: int) -> None:
        """Go on by an output token. ConstraintError if the grammar does not allow it."""
        self.bits = None
        self.constraint.accept(token_id)
        self.num_output_tokens += 1


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

    @property
    def num_bytes(self) -> int:
        """Estimated memory of the compiled grammars that are kept."""
        return 0 if self._pool is None else self._pool.num_bytes

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

    def forced(self, seqs: Iterable[Sequence]) -> dict[str, list[int]]:
        """{request id: the next tokens}, as far as a sequence's grammar allows just one each. The model must be asked
        about sequences that are left out.

        The tokens are those that the sampler would draw, so a step need not be spent on each.
        """
        found = [(seq, followed) for seq in seqs
                 if (followed := self._followed.get(seq.request_id)) is not None and _takes_forced(seq)]
        if not found:
            return {}
        return self._thread.submit(lambda: {
            seq.request_id: tokens for seq, followed in found if (tokens := _find_forced(seq, followed))}).result()

    def masks(self, plan: StepPlan) -> RowMasks:
        """The masks of a step's rows, in the order in which the sampler gets them."""
        masks, row = RowMasks(), 0
        for item in plan.scheduled:
            followed = self._followed.get(item.seq.request_id)
            if followed is not None and item.num_rows:
                _fill_rows(item, followed, row, masks)
            row += item.num_rows
        return masks


def _find_forced(seq: Sequence, followed: _Followed) -> list[int]:
    constraint, found = followed.constraint, list[int]()
    try:
        _catch_up(seq, followed)
        if not constraint.forced() and not constraint.is_done:
            return []
        while len(found) < _MOST_FORCED:
            followed.bits = _next_bits(seq, constraint)
            only = only_id(followed.bits)
            if only is None:
                break
            found.append(only)
            if only in seq.end_token_ids:
                break
            followed.accept(only)
    except ConstraintError:      # the next step's mask meets it again, and reports it
        pass
    return found


def _fill_rows(item: Scheduled, followed: _Followed, first: int, masks: RowMasks) -> None:
    """Masks of one sequence's rows: after its tokens, and after each draft that the mask before it allows.

    Rows after a draft that is not allowed stay free: the draft will be rejected, and nothing of them is used.
    """
    constraint, num_accepted = followed.constraint, 0
    try:
        _catch_up(item.seq, followed)
        for i in range(item.num_rows):
            if item.seq.num_output_tokens + i < len(item.seq.request.forced_token_ids):
                continue
            bits = followed.bits if i == 0 and followed.bits is not None else _next_bits(item.seq, constraint)
            if not bits.any():
                if constraint.is_complete:
                    masks.ended.add(first + i)
                else:
                    masks.failed[first + i] = _NO_TOKEN
                break
            masks.bits[first + i] = bits
            if i == len(item.drafts) or not has_id(bits, item.drafts[i]) or item.drafts[i] in item.seq.end_token_ids:
                break
            constraint.accept(item.drafts[i])
            num_accepted += 1
        constraint.rollback(num_accepted)
    except ConstraintError as error:
        masks.failed[first] = f"the answer's grammar cannot go on: {error}"


def _next_bits(seq: Sequence, constraint: Constraint) -> np.ndarray:
    """The mask of the next token of a sequence, as in RowMasks; all 0 if the answer has ended, or cannot go on."""
    bits = np.zeros(constraint.num_words, np.uint32)
    constraint.fill(bits)
    request = seq.request
    if request.sampling.ignore_eos:
        _clear(bits, request.eos_token_ids)
    if constraint.is_complete:
        _set(bits, request.sampling.stop_token_ids or ())
    return bits


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
        followed.accept(token_id)


def has_id(bits: np.ndarray, token_id: int) -> bool:
    """True if the mask allows the token."""
    return bool(bits[token_id >> 5] >> np.uint32(token_id & 31) & np.uint32(1))


def _set(bits: np.ndarray, token_ids: Iterable[int]) -> None:
    for token_id in token_ids:
        bits[token_id >> 5] |= np.uint32(1 << (token_id & 31))


def _clear(bits: np.ndarray, token_ids: Iterable[int]) -> None:
    for token_id in token_ids:
        bits[token_id >> 5] &= ~np.uint32(1 << (token_id & 31))
