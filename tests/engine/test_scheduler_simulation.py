"""Whatever the pool, the chunks and the neighbours: every sequence gets the tokens it gets alone.

The model here keeps, for each slot of each block, which tokens were computed up to it, and answers with a hash of all
that a query sees through the block tables. A slot that was overwritten, freed too early or found under a wrong key
changes the answer.
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling import BLOCK_SIZE, EOS, STATE_INTERVAL, Kind, make_scheduler, make_seq

from weft.cache.groups import FREED
from weft.engine.scheduler import Scheduler
from weft.engine.sequence import Sequence
from weft.engine.step_plan import Scheduled
from weft.errors import RequestError

MAX_MODEL_LEN = 48


class PagedModel:
    """A model without weights, over the caches of groups of these kinds."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self.kinds = kinds
        self.slots: dict[tuple[int, int, int], str] = {}       # (group, block, offset) -> what was computed there

    def run(self, item: Scheduled) -> list[int]:
        """The tokens that the item's rows give, up to the first that is not the draft after it."""
        seq, end = item.seq, item.start + item.num_new_tokens
        assumed = [*seq.token_ids, *item.drafts]
        for group, kind in enumerate(self.kinds):
            self.store(item, assumed, group, kind)
        token_ids: list[int] = []
        for row in range(end - item.num_rows, end):
            if token_ids and token_ids[-1] != assumed[row]:
                break
            token_ids.append(answer([self.seen(seq, assumed, group, kind, row)
                                     for group, kind in enumerate(self.kinds)]))
        return token_ids

    def store(self, item: Scheduled, assumed: list[int], group: int, kind: Kind) -> None:
        """Stores what the new tokens store."""
        seq, end = item.seq, item.start + item.num_new_tokens
        if kind == "state":
            self.store_state(item, assumed, group)
        elif kind == "encoder":
            if not seq.is_encoded:
                for position in range(seq.num_encoder_tokens):
                    self.slots[self.slot(seq, group, position)] = encoded(seq, position)
        else:
            for position in range(item.start, end):
                self.slots[self.slot(seq, group, position)] = state(seq, assumed, position)

    def store_state(self, item: Scheduled, assumed: list[int], group: int) -> None:
        """The state after the step is as right as the one before it: told by the tokens that each has seen."""
        read, write = item.seq.block_ids[group]
        before = "" if read == FREED else self.slots[group, read, 0]
        assert before == ("" if item.start == 0 else state(item.seq, assumed, item.start - 1))
        self.slots[group, write, 0] = state(item.seq, assumed, item.start + item.num_new_tokens - 1)

    def seen(self, seq: Sequence, assumed: list[int], group: int, kind: Kind, position: int) -> list[str]:
        """What the token at a position sees. Of states it is the one after it, which passes by in the step."""
        if kind == "state":
            return [state(seq, assumed, position)]
        places = range(seq.num_encoder_tokens) if kind == "encoder" else visible(kind, position)
        return [self.slots[self.slot(seq, group, place)] for place in places]

    def slot(self, seq: Sequence, group: int, position: int) -> tuple[int, int, int]:
        block_id = seq.block_ids[group][position // BLOCK_SIZE]
        assert block_id >= 0, f"group {group}: position {position} is seen and its block is gone"
        return group, block_id, position % BLOCK_SIZE


def visible(window: int | None, position: int) -> range:
    return range(0 if window is None else max(0, position - window + 1), position + 1)


def encoded(seq: Sequence, position: int) -> str:
    return f"{seq.request.cache_salt} {seq.request.encoder_token_ids}: {position}"


def state(seq: Sequence, token_ids: list[int], position: int) -> str:
    return f"{seq.request.cache_salt} {token_ids[: position + 1]}"


def answer(seen: list[list[str]]) -> int:
    value = sha256(repr(seen).encode()).digest()[0]
    return EOS if value < 8 else value % 4


def alone(seq: Sequence, kinds: tuple[Kind, ...]) -> tuple[list[int], str]:
    """What the sequence generates without a scheduler, and why it ends."""
    copy = make_seq("alone", seq.token_ids[: seq.num_prompt_tokens], max_tokens=seq.request.params.max_tokens,
                    cache_salt=seq.request.cache_salt)
    copy.max_len = min(copy.max_len, MAX_MODEL_LEN)
    ended = False
    while not ended:
        ended = copy.append(answer([seen_alone(seq, copy, kind) for kind in kinds]))
    return copy.output_token_ids, copy.finish_reason


def seen_alone(seq: Sequence, copy: Sequence, kind: Kind) -> list[str]:
    last = copy.num_tokens - 1
    if kind == "state":
        return [state(copy, copy.token_ids, last)]
    if kind == "encoder":
        return [encoded(seq, position) for position in range(seq.num_encoder_tokens)]
    return [state(copy, copy.token_ids, position) for position in visible(kind, last)]


# Few different tokens and lengths around the block borders, so that prefixes are shared and blocks run out.
PROMPTS = st.one_of(
    st.lists(st.integers(0, 3), min_size=1, max_size=24),
    st.integers(1, 30).map(lambda n: [1] * n),
)
REQUESTS = st.lists(
    st.tuples(PROMPTS, st.integers(1, 20), st.integers(0, 2), st.sampled_from([None, None, "salt"]), st.integers(0, 6),
              st.sampled_from([None, None, None, 1])),
    min_size=1, max_size=10)
KINDS = st.sampled_from([
    (), (None,), (6,), (None, 6), (None, 1, 9), (4, 11), ("state",), ("state", None), (None, "state", 6),
    (None, "encoder"), (6, "encoder", "state")])
LIMITS = st.fixed_dictionaries({
    "num_blocks": st.integers(4, 20), "max_num_seqs": st.integers(1, 6), "max_num_batched_tokens": st.integers(1, 24),
    "long_prefill_token_threshold": st.sampled_from([0, 0, 3]), "policy": st.sampled_from(["fcfs", "priority"]),
    "prefix_caching": st.booleans(),
})
ABORTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9), st.booleans()), max_size=3)


@settings(max_examples=150, deadline=None)
@given(requests=REQUESTS, kinds=KINDS, limits=LIMITS, is_chunked=st.booleans(), aborts=ABORTS, fails=st.booleans())
def test_every_sequence_gets_the_tokens_it_gets_alone(requests, kinds, limits, is_chunked, aborts, fails):
    simulate(requests, kinds, limits, is_chunked, aborts, fails, num_drafts=0)


@settings(max_examples=150, deadline=None)
@given(requests=REQUESTS, kinds=KINDS, limits=LIMITS, is_chunked=st.booleans(), aborts=ABORTS, fails=st.booleans(),
       num_drafts=st.sampled_from([1, 2, 5, 9]))
def test_right_and_wrong_drafts_change_no_token_and_hold_no_block_from_step_to_step(
        requests, kinds, limits, is_chunked, aborts, fails, num_drafts):
    simulate(requests, kinds, limits, is_chunked, aborts, fails, num_drafts=num_drafts)


def simulate(requests, kinds, limits, is_chunked, aborts, fails, *, num_drafts: int) -> None:
    if not is_chunked:
        limits = limits | {"max_num_batched_tokens": MAX_MODEL_LEN, "enable_chunked_prefill": False}
    scheduler = make_scheduler(kinds=kinds, max_model_len=MAX_MODEL_LEN, has_drafts=num_drafts > 0, **limits)
    model, pending, served = PagedModel(kinds), dict(enumerate(requests)), []

    for number in range(1000):
        served += arrive(scheduler, pending, number)
        if not scheduler.has_unfinished:
            continue
        plan = scheduler.schedule()
        scheduler.check()
        check_plan(plan, limits)
        if is_chunked and limits["prefix_caching"] and "state" in kinds:
            assert all(item.start // STATE_INTERVAL == (item.start + item.num_new_tokens - 1) // STATE_INTERVAL
                       for item in plan.scheduled if not item.drafts)
        abort(scheduler, aborts, number, between=True)
        items = [item for item in plan.scheduled if not item.seq.is_finished]
        check_states(items, kinds)
        if fails:                                              # the step fails at its end: each is run again
            deque(map(model.run, items), maxlen=0)
        token_ids = [[] if item.seq.is_finished else model.run(item) for item in plan.scheduled]
        finished = scheduler.apply(plan, token_ids)
        scheduler.check()
        assert all(seq.is_finished for seq in finished)
        abort(scheduler, aborts, number, between=False)
        for item in plan.scheduled:
            item.seq.draft_token_ids = guesses(item.seq, kinds, num_drafts)
            check_held(item.seq, kinds)

    assert not scheduler.has_unfinished and not pending, "the scheduler did not come to an end"
    assert scheduler.kv_cache_usage == 0
    for seq in served:
        assert seq.finish_reason == "abort" or (seq.output_token_ids, seq.finish_reason) == alone(seq, kinds)


def guesses(seq: Sequence, kinds: tuple[Kind, ...], num_drafts: int) -> list[int]:
    """Drafts of which none, some or all are what the sequence gets, by chance."""
    if not num_drafts or seq.is_finished:
        return []
    chance = sha256(f"{seq.request_id} {seq.num_tokens}".encode()).digest()[0]
    truth = alone(seq, kinds)[0][seq.num_output_tokens :]
    num_right = chance % (num_drafts + 1)
    return (truth[:num_right] + [3] * num_drafts)[:num_drafts]


def arrive(scheduler: Scheduler, pending: dict[int, tuple], step: int) -> list[Sequence]:
    """Adds the requests whose step has come; those that can never fit are refused and leave no trace."""
    arrived = []
    for number in [number for number, request in pending.items() if request[4] <= step]:
        prompt, max_tokens, priority, salt, _, prompt_logprobs = pending.pop(number)
        seq = make_seq(f"{number}", prompt, max_tokens=max_tokens, priority=priority, cache_salt=salt,
                       prompt_logprobs=prompt_logprobs, num_encoder_tokens=len(prompt) % 9)
        try:
            scheduler.add(seq)
        except RequestError:
            continue
        arrived.append(seq)
    return arrived


def abort(scheduler: Scheduler, aborts: list[tuple[int, int, bool]], step: int, *, between: bool) -> None:
    for at, number, is_between in aborts:
        if at == step and is_between == between:
            scheduler.abort(f"{number}")
            scheduler.check()


def check_states(items: list[Scheduled], kinds: tuple[Kind, ...]) -> None:
    """A step never changes what it reads: what one sequence writes, no sequence of the step reads or writes."""
    for group in (group for group, kind in enumerate(kinds) if kind == "state"):
        tables = [item.seq.block_ids[group] for item in items]
        written = [write for _, write in tables]
        assert len(set(written)) == len(written)
        assert not set(written) & {read for read, _ in tables}


def check_held(seq: Sequence, kinds: tuple[Kind, ...]) -> None:
    """After a step a sequence holds blocks up to its last known token but one, whatever was drafted."""
    for kind, table in zip(kinds, seq.block_ids, strict=True):
        if kind not in ("state", "encoder") and seq.num_uncomputed_tokens == 1:
            assert len(table) == (0 if seq.is_finished else -(-seq.num_computed_tokens // BLOCK_SIZE))


def check_plan(plan, limits) -> None:
    """The promises of a plan: its limits, its order, and progress: a plan without anything to run is never made."""
    num_tokens = [item.num_new_tokens for item in plan.scheduled]
    assert 0 < sum(num_tokens) == plan.num_tokens <= limits["max_num_batched_tokens"]
    assert len({item.seq for item in plan.scheduled}) == len(num_tokens) <= limits["max_num_seqs"]
    is_decode = [item.num_new_tokens == 1 and item.num_rows == 1 for item in plan.scheduled]
    assert is_decode == sorted(is_decode, reverse=True)
    assert not {item.seq for item in plan.scheduled} & set(plan.preempted)
