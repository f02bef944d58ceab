"""Whatever the pool, the chunks and the neighbours: every sequence gets the tokens it gets alone.

The model here keeps, for each slot of each block, which tokens were computed up to it, and answers with a hash of all
that a query sees through the block tables. A slot that was overwritten, freed too early or found under a wrong key
changes the answer.
"""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling import BLOCK_SIZE, EOS, make_scheduler, make_seq

from weft.engine.scheduler import Scheduled, Scheduler
from weft.engine.sequence import Sequence
from weft.errors import RequestError

MAX_MODEL_LEN = 48


class PagedModel:
    """A model without weights, over the caches of groups with these windows."""

    def __init__(self, windows: tuple[int | None, ...]) -> None:
        self.windows = windows
        self.slots: dict[tuple[int, int, int], str] = {}       # (group, block, offset) -> what was computed there

    def run(self, item: Scheduled) -> list[int]:
        seq, end = item.seq, item.start + item.num_new_tokens
        for position in range(item.start, end):
            for group in range(len(self.windows)):
                self.slots[self.slot(seq, group, position)] = state(seq, position)
        seen = [[self.slots[self.slot(seq, group, position)] for position in visible(window, end - 1)]
                for group, window in enumerate(self.windows)]
        return [answer(seen)] if item.num_rows else []

    def slot(self, seq: Sequence, group: int, position: int) -> tuple[int, int, int]:
        block_id = seq.block_ids[group][position // BLOCK_SIZE]
        assert block_id >= 0, f"group {group}: position {position} is seen and its block is gone"
        return group, block_id, position % BLOCK_SIZE


def visible(window: int | None, position: int) -> range:
    return range(0 if window is None else max(0, position - window + 1), position + 1)


def state(seq: Sequence, position: int) -> str:
    return f"{seq.cache_salt} {seq.token_ids[: position + 1]}"


def answer(seen: list[list[str]]) -> int:
    value = sha256(repr(seen).encode()).digest()[0]
    return EOS if value < 8 else value % 4


def alone(seq: Sequence, windows: tuple[int | None, ...]) -> tuple[list[int], str]:
    """What the sequence generates without a scheduler, and why it ends."""
    copy = make_seq("alone", seq.token_ids[: seq.num_prompt_tokens], max_tokens=seq.request.params.max_tokens,
                    cache_salt=seq.cache_salt)
    copy.max_len = min(copy.max_len, MAX_MODEL_LEN)
    ended = False
    while not ended:
        seen = [[state(copy, position) for position in visible(window, copy.num_tokens - 1)] for window in windows]
        ended = copy.append(answer(seen))
    return copy.output_token_ids, copy.finish_reason


# Few different tokens and lengths around the block borders, so that prefixes are shared and blocks run out.
PROMPTS = st.one_of(
    st.lists(st.integers(0, 3), min_size=1, max_size=24),
    st.integers(1, 30).map(lambda n: [1] * n),
)
REQUESTS = st.lists(
    st.tuples(PROMPTS, st.integers(1, 20), st.integers(0, 2), st.sampled_from([None, None, "salt"]), st.integers(0, 6),
              st.sampled_from([None, None, None, 1])),
    min_size=1, max_size=10)
WINDOWS = st.sampled_from([(None,), (6,), (None, 6), (None, 1, 9), (4, 11)])
LIMITS = st.fixed_dictionaries({
    "num_blocks": st.integers(4, 20), "max_num_seqs": st.integers(1, 6), "max_num_batched_tokens": st.integers(1, 24),
    "long_prefill_token_threshold": st.sampled_from([0, 0, 3]), "policy": st.sampled_from(["fcfs", "priority"]),
    "prefix_caching": st.booleans(),
})


@settings(max_examples=150, deadline=None)
@given(requests=REQUESTS, windows=WINDOWS, limits=LIMITS, is_chunked=st.booleans(), aborts=st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 9), st.booleans()), max_size=3))
def test_every_sequence_gets_the_tokens_it_gets_alone(requests, windows, limits, is_chunked, aborts):
    if not is_chunked:
        limits = limits | {"max_num_batched_tokens": MAX_MODEL_LEN, "enable_chunked_prefill": False}
    scheduler = make_scheduler(windows=windows, max_model_len=MAX_MODEL_LEN, **limits)
    model, pending, served = PagedModel(windows), dict(enumerate(requests)), []

    for number in range(1000):
        served += arrive(scheduler, pending, number)
        if not scheduler.has_unfinished:
            continue
        plan = scheduler.schedule()
        scheduler.check()
        check_plan(plan, limits)
        abort(scheduler, aborts, number, between=True)
        token_ids = [[] if item.seq.is_finished else model.run(item) for item in plan.scheduled]
        finished = scheduler.apply(plan, token_ids)
        scheduler.check()
        assert all(seq.is_finished for seq in finished)
        abort(scheduler, aborts, number, between=False)

    assert not scheduler.has_unfinished and not pending, "the scheduler did not come to an end"
    assert scheduler.kv_cache_usage == 0
    for seq in served:
        assert seq.finish_reason == "abort" or (seq.output_token_ids, seq.finish_reason) == alone(seq, windows)


def arrive(scheduler: Scheduler, pending: dict[int, tuple], step: int) -> list[Sequence]:
    """Adds the requests whose step has come; those that can never fit are refused and leave no trace."""
    arrived = []
    for number in [number for number, request in pending.items() if request[4] <= step]:
        prompt, max_tokens, priority, salt, _, prompt_logprobs = pending.pop(number)
        seq = make_seq(f"{number}", prompt, max_tokens=max_tokens, priority=priority, cache_salt=salt,
                       prompt_logprobs=prompt_logprobs)
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


def check_plan(plan, limits) -> None:
    """The promises of a plan: its limits, its order, and progress: a plan without anything to run is never made."""
    num_tokens = [item.num_new_tokens for item in plan.scheduled]
    assert 0 < sum(num_tokens) == plan.num_tokens <= limits["max_num_batched_tokens"]
    assert len({item.seq for item in plan.scheduled}) == len(num_tokens) <= limits["max_num_seqs"]
    is_decode = [item.num_new_tokens == 1 and item.num_rows == 1 for item in plan.scheduled]
    assert is_decode == sorted(is_decode, reverse=True)
    assert not {item.seq for item in plan.scheduled} & set(plan.preempted)
