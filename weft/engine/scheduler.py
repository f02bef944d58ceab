"""The scheduler: which sequences get how many tokens in the next step, and what the step's tokens change.

Owns the running list, the waiting queue and the preemptions; blocks are the cache manager's. Knows no tensor, no model
and no text. A step is decided by `schedule`, carried out by the runner, and entered by `apply`.

The running list is sorted by `Sequence.order` (arrival, or priority and arrival). Its last one is the one to preempt.
"""

from __future__ import annotations

import time
from bisect import insort
from operator import attrgetter

from weft.cache.manager import CacheHit, CacheManager
from weft.config.engine_config import SchedulerConfig
from weft.engine.in_flight import BlocksInFlight
from weft.engine.sequence import Sequence, State
from weft.engine.step_plan import OpenPlan, Scheduled, StepPlan
from weft.engine.waiting import WaitingQueue
from weft.errors import QueueFullError, RequestError


class Scheduler:
    """Takes sequences, plans steps within the limits of `config`, and ends sequences.

    has_drafts: sequences may come with `draft_token_ids`.

    Attributes:
        num_preemptions: since the start. prefix_cache_queries, prefix_cache_hits: tokens, on first admission only.
    """

    def __init__(self, config: SchedulerConfig, cache: CacheManager, *, max_model_len: int,
                 has_drafts: bool = False) -> None:
        self._config = config
        self._cache = cache
        self._max_model_len = max_model_len
        self._has_drafts = has_drafts
        # Without chunked prefill a prompt is one chunk, however long.
        limit = config.long_prefill_token_threshold if config.enable_chunked_prefill else 0
        self._max_chunk = min(config.max_num_batched_tokens, limit or config.max_num_batched_tokens)
        self._sequences: dict[str, Sequence] = {}
        self._running: list[Sequence] = []
        self._waiting = WaitingQueue()
        self._in_flight = BlocksInFlight()
        self._num_added = 0
        self.num_preemptions = 0
        self.prefix_cache_queries = 0
        self.prefix_cache_hits = 0

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting) + self._in_flight.num_held

    @property
    def has_unfinished(self) -> bool:
        return bool(self._sequences)

    @property
    def request_ids(self) -> list[str]:
        """Of all unfinished sequences, in the order in which they came."""
        return list(self._sequences)

    @property
    def kv_cache_usage(self) -> float:
        """Blocks in use / blocks, 0 to 1, of the fullest cache group."""
        return self._cache.usage

    def add(self, seq: Sequence) -> None:
        """Queues a sequence. RequestError if it can never run, with the numbers; QueueFullError if too many wait."""
        self._refuse_what_never_fits(seq)
        limit = self._config.max_num_queued_reqs
        if limit is not None and self.num_waiting >= limit:
            raise QueueFullError(f"{self.num_waiting} requests are waiting and max_num_queued_reqs is {limit}: "
                                 "try again later.")
        rank = (seq.request.priority, seq.request.arrival_time) if self._config.policy == "priority" else ()
        seq.order = (*rank, self._num_added)
        seq.max_len = min(seq.max_len, self._max_model_len)
        seq.block_ids = [[] for _ in self._cache.groups]
        self._num_added += 1
        self._sequences[seq.request_id] = seq
        self._wait([seq])

    def abort(self, request_id: str, reason: str = "abort") -> Sequence | None:
        """Ends a sequence with `reason` wherever it is, also between `schedule` and `apply`; None if it is not here."""
        seq = self._sequences.get(request_id)
        if seq is None:
            return None
        seq.finish_reason = reason
        match seq.state:
            case State.WAITING:
                self._waiting.discard()
            case State.HELD:
                self._in_flight.discard()
            case State.RUNNING:
                self._running.remove(seq)
                self._wait(self._in_flight.stopped(seq))
        self._finish(seq)
        return seq

    def schedule(self) -> StepPlan:
        """Plans a step: decodes, chunks of running prefills, waiting sequences, then drafts, as far as limits allow.

        A plan must be applied, or given up, before the next one is made.
        """
        step = OpenPlan(self._config.max_num_batched_tokens)
        for seq in self._schedule_decodes(step):
            self._schedule_chunk(seq, step)
        if not step.preempted:         # blocks are short, and a sequence preempted now must not come back in one plan
            self._admit(step)
        if self._has_drafts:
            self._add_drafts(step)
        return step.close()

    def apply(self, plan: StepPlan, new_token_ids: list[list[int]]) -> list[Sequence]:
        """Enters what a step computed; returns the sequences that it finished, their blocks released.

        Args:
            new_token_ids: for each scheduled sequence the tokens that its rows gave, none where it has no rows. Those
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
            # Blocks of kept tokens only: a rejected draft's keys stay in its slot until the next step overwrites them.
            if drafts:
                num_kept = item.num_kept(len(seq.token_ids) - num_known)
                if num_kept < num_new_tokens:
                    self._cache.shrink(seq, start + num_kept)
                    if has_states:
                        continue     # the state before the step is still there: what is kept is computed again
                num_new_tokens = num_kept
            seq.num_computed_tokens = end = start + num_new_tokens
            if end // key_size != start // key_size:
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

    def reset_prefix_cache(self) -> bool:
        """Forgets all cached prefixes. False, and nothing done, while sequences hold blocks."""
        return self._cache.reset()

    def check(self) -> None:
        """AssertionError unless blocks, lists and states agree. For tests: it looks at everything."""
        self._cache.check(self._running)
        self._waiting.check()
        self._in_flight.check(self._running)
        assert self._running == sorted(self._running, key=attrgetter("order")), "the running list is out of order"
        assert all(seq.state is State.RUNNING for seq in self._running), "a running sequence has another state"
        known = len(self._running) + self.num_waiting
        assert known == len(self._sequences), f"{known} sequences run or wait, {len(self._sequences)} are here"
        for seq in self._sequences.values():
            assert seq.state is State.RUNNING or not any(seq.block_ids), f"{seq.request_id} waits and has blocks"

    def _refuse_what_never_fits(self, seq: Sequence) -> None:
        if seq.request_id in self._sequences:
            raise RequestError("request_id", seq.request_id, expected="an id that no unfinished request has")
        longest = self._longest_prompt(seq)
        if not 0 < seq.num_tokens <= longest:
            answer = "" if seq.is_pooling else ", the answer needs 1 of them"
            raise RequestError("prompt", f"{seq.num_tokens} tokens", expected=f"1 to {longest} tokens",
                               hint=f"max_model_len is {self._max_model_len}{answer}.")
        if not self._config.enable_chunked_prefill and seq.num_tokens > self._config.max_num_batched_tokens:
            raise RequestError("prompt", f"{seq.num_tokens} tokens", hint="Start the engine with a larger one.",
                               expected=f"up to max_num_batched_tokens = {self._config.max_num_batched_tokens}, as a "
                               "prompt is computed in one step")
        if seq.num_tokens >= seq.max_len and not seq.is_pooling:
            raise RequestError("output_token_ids", f"{seq.num_output_tokens} tokens",
                               expected=f"fewer than max_tokens = {seq.max_len - seq.num_prompt_tokens}")
        self._refuse_what_outgrows_the_cache(seq)

    def _refuse_what_outgrows_the_cache(self, seq: Sequence) -> None:
        # Refused here, at its largest, so that a sequence which runs alone never runs out of blocks. The last token of
        # all is sampled and not stored.
        longest = min(seq.max_stored_len, self._longest_prompt(seq))
        needed = self._cache.num_needed(longest, self._max_chunk, seq.num_encoder_tokens)
        for num_needed, pool, group in zip(needed, self._cache.pools, self._cache.groups, strict=True):
            if num_needed > pool.num_blocks:
                field, value = "max_tokens", seq.max_len - seq.num_prompt_tokens
                if seq.is_pooling:
                    field, value = "prompt", f"{seq.num_tokens} tokens"
                raise RequestError(
                    field, value,
                    expected=f"a request that fits the cache: up to {longest} tokens (prompt {seq.num_prompt_tokens}) "
                    f"need {num_needed} blocks of {group.block_size}, and there are {pool.num_blocks}",
                    hint="Ask for fewer tokens, shorten the prompt, or give the engine more kv_cache_memory_bytes.")

    def _longest_prompt(self, seq: Sequence) -> int:
        """Tokens that fit the context: a sequence that is continued needs one more."""
        return self._max_model_len if seq.is_pooling else self._max_model_len - 1

    def _schedule_decodes(self, step: OpenPlan) -> list[Sequence]:
        """Gives each running sequence with one uncomputed token that token; returns the others, which are in prefill.

        Nearly all time of a busy step goes by here: one pass, no call for a sequence whose tables have room.
        """
        prefills, decodes, budget = [], step.decodes, step.budget
        for seq in self._running:                 # loses only its last ones meanwhile, none of which had its turn
            start = seq.num_computed_tokens
            if len(seq.token_ids) - start > 1 or seq.is_pooling:
                prefills.append(seq)
            elif budget and (start < seq.room or self._make_room(seq, start + 1, step)):
                decodes.append(Scheduled(seq, 1, start, 1))
                budget -= 1
        step.budget = budget
        return prefills

    def _schedule_chunk(self, seq: Sequence, step: OpenPlan) -> None:
        num_tokens = self._chunk_len(seq.num_computed_tokens, seq.num_uncomputed_tokens, step.budget)
        if num_tokens and seq.state is State.RUNNING and self._make_room(
                seq, seq.num_computed_tokens + num_tokens, step):
            step.give(seq, num_tokens)

    def _chunk_len(self, start: int, num_uncomputed: int, budget: int) -> int:
        """Tokens from `start` on that a step takes of a prefill; 0 if it has to wait for another step."""
        if not self._config.enable_chunked_prefill:
            return num_uncomputed if num_uncomputed <= budget else 0
        to_border = num_uncomputed if self._cache.border is None else self._cache.border - start % self._cache.border
        return min(num_uncomputed, budget, self._max_chunk, to_border)

    def _make_room(self, seq: Sequence, num_tokens: int, step: OpenPlan) -> bool:
        """Gives a running sequence blocks for `num_tokens`, preempting the last ones; False if it came to itself."""
        while not self._cache.allocate(seq, num_tokens):
            victim = self._running.pop()
            step.take_back(victim)
            self._preempt(victim)
            if victim is seq:
                return False
        return True

    def _preempt(self, seq: Sequence) -> None:
        freed = self._in_flight.stopped(seq)
        self._cache.release(seq)
        seq.num_computed_tokens = 0
        seq.num_preemptions += 1
        self.num_preemptions += 1
        self._wait([seq, *freed])

    def _admit(self, step: OpenPlan) -> None:
        """Starts waiting sequences in their order; who does not fit yet is not overtaken.

        A sequence starts only if all its known tokens and the next one fit in free blocks, without those that running
        ones need to get as far. So it is not preempted at once.
        """
        reserved: list[int] | None = None
        max_num_seqs = self._config.max_num_seqs
        while step.budget and len(self._running) < max_num_seqs and self._in_flight.num_held < max_num_seqs:
            seq = self._waiting.first()
            if seq is None:
                return
            hit = self._cache.find(seq)
            if self._in_flight.hold(seq, self._keys_after(hit, seq)):
                self._waiting.pop().state = State.HELD
                continue
            if reserved is None:
                reserved = self._num_reserved()
            num_tokens = self._chunk_len(hit.num_tokens, seq.num_tokens - hit.num_tokens, step.budget)
            if not num_tokens or not self._cache.can_hold(
                    hit, _next_len(seq), self._max_chunk, seq.num_encoder_tokens, reserved):
                return
            self._start(self._waiting.pop(), hit, num_tokens)
            step.give(seq, num_tokens)
            missing = self._cache.num_missing(seq, _next_len(seq), self._max_chunk)
            reserved = [a + b for a, b in zip(reserved, missing, strict=True)]

    def _add_drafts(self, step: OpenPlan) -> None:
        """Gives decodes their drafts out of the tokens and blocks that all else has left; nobody is preempted.

        Blocks of rejected drafts go back after the step, so the next one starts as it would have without drafts.
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
        """As many of a decode's drafts as there is room for. The token after the last one is the sequence's last."""
        seq, end = item.seq, item.start + 1
        num = min(len(seq.draft_token_ids), budget, self._max_chunk - 1, seq.max_len - end - 1)
        if num > 0 and end + num > seq.room and not self._cache.allocate(seq, end + num):
            num = min(num, seq.room - end)
        return tuple(seq.draft_token_ids[: max(num, 0)])

    def _keys_after(self, hit: CacheHit, seq: Sequence) -> list[bytes]:
        """Keys at which a longer hit than this one could end, were they in the cache."""
        if not seq.reads_prefix_cache:
            return []
        key_size, step = self._cache.key_size, self._cache.hit_size // self._cache.key_size
        return seq.block_keys[hit.num_tokens // key_size + step - 1 : (seq.num_tokens - 1) // key_size : step]

    def _start(self, seq: Sequence, hit: CacheHit, num_tokens: int) -> None:
        self._cache.adopt(seq, hit)
        seq.num_computed_tokens = hit.num_tokens
        if not self._cache.allocate(seq, hit.num_tokens + num_tokens):
            raise AssertionError(f"can_hold promised blocks for {seq.request_id} that are not there")
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
        """Blocks of each group that running sequences will need to know one more token each."""
        reserved = [0] * len(self._cache.groups)
        for seq in self._running:
            num_tokens = _next_len(seq)
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
        seq.state = State.FINISHED
        del self._sequences[seq.request_id]


def _next_len(seq: Sequence) -> int:
    """Tokens in the cache when one more than today's is known, as far as they are ever stored."""
    return min(seq.num_tokens + 1, seq.max_stored_len)
