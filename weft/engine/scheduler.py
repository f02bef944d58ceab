"""The scheduler (continuous batching): decides the sequences and tokens of each step and records the step's tokens.

`schedule` plans a step, the runner executes it, `apply` records its result. The scheduler owns the running list, the
waiting queue and preemption; the cache manager owns the blocks. The running list is sorted by `Sequence.order`
(`turns.py`); its last sequence is preempted first.
"""

from __future__ import annotations

import time
from bisect import insort
from operator import attrgetter

from weft.cache.manager import CacheHit, CacheManager
from weft.config.engine_config import SchedulerConfig
from weft.engine.door import Door
from weft.engine.in_flight import BlocksInFlight
from weft.engine.media_chunks import MediaChunks
from weft.engine.prefill_pace import PrefillPace
from weft.engine.queue_limits import QueueLimits
from weft.engine.sequence import Sequence, State
from weft.engine.step_plan import OpenPlan, Scheduled, StepPlan
from weft.engine.turns import Turns
from weft.engine.waiting import WaitingQueue
from weft.errors import RequestError


class Scheduler:
    """Takes sequences, plans steps within the limits of `config`, and ends sequences.

    has_drafts: sequences may have `draft_token_ids` (speculative decoding). media_unit: as MediaChunks.unit.

    Attributes:
        pace: learns how long steps took.
        num_queued_tokens: known tokens of the sequences that wait.
        num_preemptions: since the start. prefix_cache_queries, prefix_cache_hits: tokens looked up and found, counted
            when a sequence first starts.
    """

    def __init__(self, config: SchedulerConfig, cache: CacheManager, *, max_model_len: int,
                 has_drafts: bool = False, media_unit: str = "rows") -> None:
        self._config, self._cache, self._max_model_len = config, cache, max_model_len
        self._has_drafts = has_drafts
        # Without chunked prefill a prompt is one chunk, however long.
        limit = config.long_prefill_token_threshold if config.enable_chunked_prefill else 0
        self._max_chunk = min(config.max_num_batched_tokens, limit or config.max_num_batched_tokens)
        self._sequences: dict[str, Sequence] = {}
        self._running: list[Sequence] = []
        self._waiting = WaitingQueue()
        self._in_flight = BlocksInFlight()
        self._num_compiling = 0
        self._turns = Turns(by_priority=config.policy == "priority")
        self.pace = PrefillPace(config.prefill_slowdown)
        self.media = MediaChunks(config.max_num_batched_tokens, media_unit)
        self._door = Door(config, cache, self.media, max_model_len=max_model_len, max_chunk=self._max_chunk)
        self._queue_limits = QueueLimits(config.max_num_queued_reqs, config.max_num_queued_tokens)
        self.num_queued_tokens = self.num_preemptions = 0
        self.prefix_cache_queries = self.prefix_cache_hits = 0

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting) + self.num_deferred

    @property
    def num_deferred(self) -> int:
        """Those of the waiting sequences that wait for a grammar, or for blocks that another sequence computes."""
        return self._in_flight.num_held + self._num_compiling

    @property
    def is_only_compiling(self) -> bool:
        """True if every unfinished sequence waits for its grammar."""
        return 0 < self._num_compiling == len(self._sequences)

    @property
    def has_unfinished(self) -> bool:
        return bool(self._sequences)

    @property
    def request_ids(self) -> list[str]:
        """The ids of all unfinished sequences, in order of arrival."""
        return list(self._sequences)

    @property
    def kv_cache_usage(self) -> float:
        """The share of held blocks in the fullest cache group, 0 to 1."""
        return self._cache.usage

    @property
    def prefix_cache_bytes(self) -> int:
        """Bytes of cached prefixes, also of those that running sequences use."""
        return self._cache.prefix_bytes

    def add(self, seq: Sequence, *, is_compiling: bool = False) -> None:
        """Queues a sequence. RequestError, with the numbers, if it can never run; QueueFullError if too many wait.

        is_compiling: the sequence waits outside the queue, until `compiled` says that its grammar is there.
        """
        if seq.request_id in self._sequences:
            raise RequestError("request_id", seq.request_id, expected="an id that no unfinished request has")
        self._door.check(seq)
        self._queue_limits.check(self.num_waiting, self.num_queued_tokens, seq.num_tokens)
        seq.order = self._turns.order(seq.request)
        seq.max_len = min(seq.max_len, self._max_model_len)
        seq.block_ids = [[] for _ in self._cache.groups]
        self._sequences[seq.request_id] = seq
        self.num_queued_tokens += seq.num_tokens
        if is_compiling:
            seq.state = State.COMPILING
            self._num_compiling += 1
        else:
            self._wait([seq])

    def compiled(self, request_id: str) -> None:
        """The grammar of a sequence is there: it joins the queue, at its place. An id that has ended is ignored."""
        seq = self._sequences.get(request_id)
        if seq is not None and seq.state is State.COMPILING:
            self._num_compiling -= 1
            self._wait([seq])

    def abort(self, request_id: str, reason: str = "abort") -> Sequence | None:
        """Ends a sequence in any state with `reason`, also between `schedule` and `apply`. None for an unknown id."""
        seq = self._sequences.get(request_id)
        if seq is None:
            return None
        seq.finish_reason = reason
        if seq.state is not State.RUNNING:
            self.num_queued_tokens -= seq.num_tokens
        match seq.state:
            case State.WAITING:
                self._waiting.discard()
            case State.HELD:
                self._in_flight.discard()
            case State.COMPILING:
                self._num_compiling -= 1
            case State.RUNNING:
                self._running.remove(seq)
                self._wait(self._in_flight.stopped(seq))
        self._finish(seq)
        return seq

    def schedule(self) -> StepPlan:
        """Plans a step: decodes, chunks of running prefills, waiting sequences, then drafts. Apply the plan or drop it
        before the next call."""
        step = OpenPlan(self._config.max_num_batched_tokens)
        if self._config.policy == "priority":
            self._make_way(step)
        num_made_way = len(step.preempted)
        prefills = self._schedule_decodes(step)
        self.pace.begin(len(step.decodes))
        for seq in prefills:
            self._schedule_chunk(seq, step)
        if len(step.preempted) == num_made_way:      # otherwise blocks are short
            self._admit(step)
        if self._has_drafts:
            self._add_drafts(step)
        return step.close()

    def apply(self, plan: StepPlan, new_token_ids: list[list[int]]) -> list[Sequence]:
        """Records the result of a step; returns the sequences that finished, with their blocks released.

        Args:
            new_token_ids: for each scheduled sequence, its sampled tokens; an empty list if it has no rows. Tokens
                after the end of a sequence are dropped.
        """
        finished = []
        key_size, is_shifting, has_states = self._cache.key_size, self._cache.is_shifting, self._cache.has_states
        for item, token_ids in zip(plan.scheduled, new_token_ids, strict=True):
            seq, num_new_tokens, start, _, drafts = item
            if seq.finish_reason is not None:                      # aborted since it was scheduled
                continue
            num_known = len(seq.token_ids)
            for token_id in token_ids:
                if seq.append(token_id):
                    finished.append(seq)
                    break
            # A rejected draft's keys stay in their slot until the next step overwrites them; surplus blocks go back.
            if drafts:
                num_kept = item.num_kept(len(seq.token_ids) - num_known)
                if num_kept < num_new_tokens:
                    self._cache.shrink(seq, start + num_kept)
                    if has_states:
                        continue     # the state before the step is still there; the next step recomputes kept tokens
                num_new_tokens = num_kept
            seq.num_computed_tokens = end = start + num_new_tokens
            self.media.computed(seq)
            if end // key_size != start // key_size or not seq.is_encoded:
                self._wait(self._in_flight.published(self._cache.publish(seq, start)))
            if is_shifting:
                self._cache.advance(seq)
            if seq.is_pooling and end == len(seq.token_ids):
                seq.finish_reason = "stop"
                finished.append(seq)
        if finished:
            self._running = [seq for seq in self._running if seq.finish_reason is None]
            for seq in finished:
                self._finish(seq)
        return finished

    def extend(self, seq: Sequence, token_ids: list[int]) -> int:
        """Appends tokens that need no sampling to a running sequence, which the next steps compute as they do a prompt.

        Returns how many it took before it ended.
        """
        for count, token_id in enumerate(token_ids, 1):
            if seq.append(token_id):
                self._running.remove(seq)
                self._finish(seq)
                return count
        return len(token_ids)

    def reset_prefix_cache(self) -> bool:
        """Forgets all cached prefixes. Returns False, with nothing changed, while sequences hold blocks."""
        return self._cache.reset()

    def check(self) -> None:
        """AssertionError unless blocks, lists and states agree. For tests: it is slow."""
        self._cache.check(self._running)
        self._waiting.check()
        self.media.cache.check(self._sequences)
        self._in_flight.check(self._running)
        assert self._running == sorted(self._running, key=attrgetter("order")), "the running list is out of order"
        assert all(seq.state is State.RUNNING for seq in self._running), "a running sequence has another state"
        known = len(self._running) + self.num_waiting
        assert known == len(self._sequences), f"{known} sequences run or wait, {len(self._sequences)} are here"
        queued = sum(seq.num_tokens for seq in self._sequences.values() if seq.state is not State.RUNNING)
        assert queued == self.num_queued_tokens, f"{queued} tokens wait, {self.num_queued_tokens} are counted"
        for seq in self._sequences.values():
            assert seq.state is State.RUNNING or not any(seq.block_ids), f"{seq.request_id} waits and has blocks"

    def _schedule_decodes(self, step: OpenPlan) -> list[Sequence]:
        """Schedules each running sequence with one uncomputed token; returns the other running ones (prefills).

        This is the hot loop of a busy step: no call for a sequence whose tables have room.
        """
        prefills, decodes, budget = [], step.decodes, step.budget
        for seq in self._running:                 # preemption only pops from the end, behind the iterator
            start = seq.num_computed_tokens
            if len(seq.token_ids) - start > 1 or seq.is_pooling:
                prefills.append(seq)
            elif budget and (start < seq.room or self._make_room(seq, start + 1, step)):
                decodes.append(Scheduled(seq, 1, start, 1))
                budget -= 1
        step.budget = budget
        return prefills

    def _schedule_chunk(self, seq: Sequence, step: OpenPlan) -> None:
        num_tokens = self._chunk_len(seq, seq.num_computed_tokens, step)
        if num_tokens and seq.state is State.RUNNING and self._make_room(
                seq, seq.num_computed_tokens + num_tokens, step):
            self._give(seq, num_tokens, step)

    def _give(self, seq: Sequence, num_tokens: int, step: OpenPlan) -> None:
        self.media.take(seq, seq.num_computed_tokens, num_tokens, step)
        self.pace.took(num_tokens, seq.num_tokens)
        step.give(seq, num_tokens)

    def _chunk_len(self, seq: Sequence, start: int, step: OpenPlan) -> int:
        """Tokens of a prefill, from `start` on, that this step computes; 0 if the prefill waits for another step."""
        num, fit = seq.num_tokens - start, self.media.fit
        if not self._config.enable_chunked_prefill:
            return num if num <= step.budget and fit(seq, start, num, step) == num else 0
        to_border = num if self._cache.border is None else self._cache.border - start % self._cache.border
        num = self.pace.cut(min(num, step.budget, self._max_chunk, to_border), seq.num_tokens)
        return fit(seq, start, num, step)

    def _make_room(self, seq: Sequence, num_tokens: int, step: OpenPlan) -> bool:
        """Gives a running sequence blocks for its first `num_tokens` tokens, preempting from the end of the running
        list. False if the sequence itself was preempted."""
        while not self._cache.allocate(seq, num_tokens):
            victim = self._running.pop()
            step.take_back(victim)
            self._preempt(victim)
            if victim is seq:
                return False
        return True

    def _make_way(self, step: OpenPlan) -> None:
        """Preempts running sequences of lower priority until the first waiting one has a place and blocks."""
        seq = self._waiting.first()
        while seq is not None and self._running and seq.order[0] < self._running[-1].order[0]:
            if len(self._running) < self._config.max_num_seqs and self._cache.can_hold(self._cache.find(
                    seq), seq.next_len, self._max_chunk, seq.num_encoder_tokens, self._num_reserved()):
                return
            victim = self._running.pop()
            step.preempted.append(victim)
            self._preempt(victim)

    def _preempt(self, seq: Sequence) -> None:
        freed = self._in_flight.stopped(seq)
        self._cache.release(seq)
        self.media.ended(seq)
        seq.num_computed_tokens = 0
        seq.num_preemptions += 1
        self.num_preemptions += 1
        self.num_queued_tokens += seq.num_tokens
        self._wait([seq, *freed])

    def _admit(self, step: OpenPlan) -> None:
        """Starts waiting sequences in their order, until one does not fit.

        A sequence starts only if free blocks suffice for its known tokens and one more, and also for the known tokens
        and one more of each running sequence. So it is not preempted at once.
        """
        reserved: list[int] | None = None
        max_num_seqs = self._config.max_num_seqs
        while step.budget and len(self._running) < max_num_seqs and self._in_flight.num_held < max_num_seqs:
            seq = self._waiting.first()
            if seq is None or seq in step.preempted:      # which must not come back in the same plan
                return
            hit = self._cache.find(seq)
            if self._in_flight.hold(seq, self._keys_after(hit, seq)):
                self._waiting.pop().state = State.HELD
                continue
            if reserved is None:
                reserved = self._num_reserved()
            num_tokens = self._chunk_len(seq, hit.num_tokens, step)
            if not num_tokens or not self._cache.can_hold(
                    hit, seq.next_len, self._max_chunk, seq.num_encoder_tokens, reserved):
                return
            if not step.starts(0 if hit.is_encoded else seq.num_encoder_tokens):
                return
            self._start(self._waiting.pop(), hit, num_tokens)
            self._give(seq, num_tokens, step)
            step.started.append(seq)
            missing = self._cache.num_missing(seq, seq.next_len, self._max_chunk)
            reserved = [a + b for a, b in zip(reserved, missing, strict=True)]

    def _add_drafts(self, step: OpenPlan) -> None:
        """Gives decodes their drafts, within the tokens and blocks that the rest of the step left. Preempts nothing.

        Blocks of rejected drafts are released after the step, so speculation changes no later scheduling decision.
        """
        plain: list[Scheduled] = []
        for item in step.decodes:
            drafts = self._drafts(item, step.budget)
            if drafts:
                num_rows = len(drafts) + 1
                step.drafted.append(Scheduled(item.seq, num_rows, item.start, num_rows, drafts))
                step.budget -= len(drafts)
            else:
                plain.append(item)
        step.decodes = plain

    def _drafts(self, item: Scheduled, budget: int) -> tuple[int, ...]:
        """As many of a decode's drafts as fit the budget, the chunk, the blocks and the sequence's `max_len`."""
        seq, end = item.seq, item.start + 1
        num = min(len(seq.draft_token_ids), budget, self._max_chunk - 1, seq.max_len - end - 1)
        if num > 0 and end + num > seq.room and not self._cache.allocate(seq, end + num):
            num = min(num, seq.room - end)
        return tuple(seq.draft_token_ids[: max(num, 0)])

    def _keys_after(self, hit: CacheHit, seq: Sequence) -> list[bytes]:
        """The content keys, in order, at which a hit longer than `hit` could end."""
        if not seq.reads_prefix_cache:
            return []
        key_size, step = self._cache.key_size, self._cache.hit_size // self._cache.key_size
        return seq.block_keys[hit.num_tokens // key_size + step - 1 : (seq.num_tokens - 1) // key_size : step]

    def _start(self, seq: Sequence, hit: CacheHit, num_tokens: int) -> None:
        self._cache.adopt(seq, hit)
        self.num_queued_tokens -= seq.num_tokens
        seq.num_computed_tokens = hit.num_tokens
        if not self._cache.allocate(seq, hit.num_tokens + num_tokens):
            raise AssertionError(f"can_hold promised blocks for {seq.request_id} that are not there")
        self._turns.started(seq)
        self._in_flight.start(seq, seq.block_keys[hit.num_tokens // self._cache.key_size :])
        seq.state = State.RUNNING
        insort(self._running, seq, key=attrgetter("order"))
        if seq.first_scheduled_time is None:
            seq.first_scheduled_time = time.monotonic()
            seq.num_cached_tokens = min(hit.num_tokens, seq.num_prompt_tokens)
            if self._cache.enable_prefix_caching and seq.reads_prefix_cache:
                self.prefix_cache_queries += seq.num_tokens
                self.prefix_cache_hits += hit.num_tokens

    def _num_reserved(self) -> list[int]:
        """For each group, the blocks that the running sequences need for their known tokens and one more each."""
        reserved = [0] * len(self._cache.groups)
        for seq in self._running:
            num_tokens = seq.next_len
            if seq.room < num_tokens:
                for group, num in enumerate(self._cache.num_missing(seq, num_tokens, self._max_chunk)):
                    reserved[group] += num
        return reserved

    def _wait(self, seqs: list[Sequence]) -> None:
        for seq in seqs:
            seq.state = State.WAITING
            self._waiting.push(seq)

    def _finish(self, seq: Sequence) -> None:
        self._cache.release(seq)
        self.media.ended(seq)
        self._turns.ended(seq)
        seq.state = State.FINISHED
        del self._sequences[seq.request_id]
