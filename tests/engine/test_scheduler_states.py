"""Sequences whose model keeps a state: what a step reads, what it writes, and which states can be found again."""

from __future__ import annotations

from scheduling import add, make_scheduler, parts, step, tokens

from weft.cache.groups import FREED
from weft.engine.scheduler import Scheduler
from weft.engine.sequence import Sequence

# Snapshots are 8 tokens apart (STATE_INTERVAL).


def table(seq: Sequence) -> list[int]:
    return list(seq.block_ids[0])


def planned(scheduler: Scheduler, seq: Sequence) -> list[int]:
    """The sequence's [read, write] in the next step, which is then done."""
    plan = scheduler.schedule()
    found = table(seq)
    scheduler.apply(plan, [[7] if item.num_rows else [] for item in plan.scheduled])
    scheduler.check()
    return found


def test_a_sequence_begins_with_no_state_and_then_reads_what_it_wrote_last():
    scheduler = make_scheduler(kinds=("state",))
    seq = add(scheduler, "a", tokens(3))

    first, second, third = (planned(scheduler, seq) for _ in range(3))

    assert first[0] == FREED
    assert second[0] == first[1]
    assert third == [second[1], second[0]]                        # from now on two blocks take turns


def test_a_prompt_stops_at_each_border_so_that_the_state_there_can_be_kept():
    scheduler = make_scheduler(kinds=("state",))
    add(scheduler, "a", tokens(19))

    assert [parts(step(scheduler)) for _ in range(4)] == [{"a": 8}, {"a": 8}, {"a": 3}, {"a": 1}]


def test_a_prompt_is_one_chunk_where_no_state_is_kept():
    scheduler = make_scheduler(kinds=("state",), prefix_caching=False)
    add(scheduler, "a", tokens(19))

    assert parts(step(scheduler)) == {"a": 19}


def test_a_snapshot_is_never_written_again():
    scheduler = make_scheduler(kinds=("state",))
    seq = add(scheduler, "a", tokens(8))
    snapshot = planned(scheduler, seq)[1]

    later = [planned(scheduler, seq) for _ in range(6)]

    assert later[0][0] == snapshot
    assert all(snapshot not in pair for pair in later[1:])


def test_another_prompt_goes_on_from_the_last_snapshot_within_it_and_writes_elsewhere():
    scheduler = make_scheduler(kinds=("state",))
    first = add(scheduler, "a", tokens(20))
    step(scheduler)
    snapshot = planned(scheduler, first)[1]                       # after 16 tokens
    other = add(scheduler, "b", [*tokens(18), 1, 2])
    plan = scheduler.schedule()

    assert parts(plan) == {"a": 4, "b": 4}
    assert (table(first)[0], table(other)[0]) == (snapshot, snapshot)
    assert table(first)[1] != table(other)[1]
    assert other.num_cached_tokens == 16


def test_of_a_hybrid_the_hit_ends_where_the_state_was_kept_though_keys_go_further():
    scheduler = make_scheduler(kinds=(None, "state"))
    add(scheduler, "a", tokens(15), max_tokens=1)
    while scheduler.has_unfinished:
        step(scheduler)
    seq = add(scheduler, "b", tokens(15))

    step(scheduler)

    assert seq.num_cached_tokens == 8                             # of the keys 12 are there


def test_a_sibling_waits_only_for_what_it_can_use():
    scheduler = make_scheduler(kinds=("state", None), max_num_batched_tokens=4)
    add(scheduler, "first", tokens(14))
    add(scheduler, "sibling", tokens(14))
    add(scheduler, "short", tokens(6))                            # no border within: it gains nothing by waiting
    step(scheduler)

    assert scheduler.num_waiting == 2
    assert parts(step(scheduler)) == {"first": 4}
    assert parts(step(scheduler)) == {"first": 4}
    assert parts(step(scheduler)) == {"first": 2, "sibling": 2}


def test_a_sequence_that_was_preempted_goes_on_from_its_last_snapshot():
    scheduler = make_scheduler(kinds=("state", None), num_blocks=[6, 6])
    add(scheduler, "old", tokens(8, 100), max_tokens=12)
    young = add(scheduler, "young", tokens(8, 200), max_tokens=12)
    while young.num_preemptions == 0:
        step(scheduler)
    scheduler.abort("old")

    [item] = step(scheduler).scheduled

    assert (item.seq, item.start) == (young, 8)


def test_after_a_wrong_draft_what_was_kept_is_computed_again_from_the_state_before_it():
    scheduler = make_scheduler(kinds=("state", None))
    seq = add(scheduler, "a", tokens(6))
    step(scheduler)                                               # six tokens computed, seven known
    plan = scheduler.schedule()
    [part], before = plan.scheduled, table(seq)
    assert scheduler._cache.allocate(seq, 9)
    plan = plan._replace(scheduled=(part._replace(num_new_tokens=3, num_rows=3, drafts=(8, 9)),))

    scheduler.apply(plan, [[8, 77]])                              # one draft right, one wrong

    scheduler.check()
    assert (seq.num_tokens, seq.num_computed_tokens) == (9, 6)
    assert planned(scheduler, seq) == before
    assert seq.num_computed_tokens == 8                           # up to the border, where the state is kept


def test_two_states_for_each_sequence_are_all_that_is_needed_however_long_it_gets():
    scheduler = make_scheduler(kinds=("state",), num_blocks=4, max_model_len=64)
    seqs = [add(scheduler, name, tokens(20, first), max_tokens=30) for name, first in [("a", 100), ("b", 200)]]
    waiting = add(scheduler, "c", tokens(20, 300), max_tokens=30)

    while not all(seq.is_finished for seq in seqs):
        assert waiting.num_computed_tokens == 0
        step(scheduler)

    assert scheduler.num_preemptions == 0


def test_an_encoders_blocks_are_there_from_the_first_step_to_the_last():
    scheduler = make_scheduler(kinds=("encoder", None), num_blocks=[3, 20])
    seq = add(scheduler, "a", tokens(5), num_encoder_tokens=9, max_tokens=12)
    waiting = add(scheduler, "b", tokens(5, 200), num_encoder_tokens=1)

    step(scheduler)
    held = table(seq)
    for _ in range(10):
        step(scheduler)

    assert len(held) == 3 and table(seq) == held
    assert waiting.num_computed_tokens == 0                       # all of the encoder's blocks are taken
    step(scheduler)
    assert parts(step(scheduler)) == {"b": 5}


def test_a_model_that_stores_nothing_is_scheduled_without_blocks():
    scheduler = make_scheduler(kinds=())
    seq = add(scheduler, "a", tokens(9), max_tokens=3)

    assert [parts(step(scheduler)) for _ in range(3)] == [{"a": 9}, {"a": 1}, {"a": 1}]
    assert (seq.finish_reason, seq.num_cached_tokens, scheduler.kv_cache_usage) == ("length", 0, 0.0)
