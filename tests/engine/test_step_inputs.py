"""From a plan to a step: what the layers of each cache group are told."""

from __future__ import annotations

from scheduling import BLOCK_SIZE, Kind, add, apply, make_groups, make_scheduler, step, tokens

from weft.engine.memory.plan import MemoryPlan
from weft.engine.step_inputs import step_inputs
from weft.ops.attention import AttentionPlan
from weft.ops.scan_plan import ScanPlan


def memory(*kinds: Kind) -> MemoryPlan:
    return MemoryPlan(
        weight_bytes=0, activation_bytes=0, kv_cache_bytes=0, scratch_bytes=0, groups=tuple(make_groups(kinds)),
        num_blocks=(100,) * len(kinds), block_size=BLOCK_SIZE, max_model_len=64, limit_bytes=0, limit_source="")


def test_each_group_has_a_plan_of_its_kind():
    scheduler = make_scheduler(kinds=("state", None, 6))
    add(scheduler, "a", tokens(3))

    states, keys, window = step_inputs(scheduler.schedule(), memory("state", None, 6)).caches

    assert isinstance(states, ScanPlan) and isinstance(keys, AttentionPlan)
    assert (keys.window, window.window) == (None, 6)


def test_a_sequence_that_begins_reads_no_state_and_one_that_goes_on_reads_what_it_wrote():
    scheduler = make_scheduler(kinds=("state",))
    old = add(scheduler, "old", tokens(3))
    plan = scheduler.schedule()
    [written] = step_inputs(plan, memory("state")).caches[0].write_ids
    apply(scheduler, plan)
    new = add(scheduler, "new", tokens(5, 200))

    [states] = step_inputs(scheduler.schedule(), memory("state")).caches

    assert states.query_lens == (1, 5)
    assert states.read_ids == (written, None)
    assert states.write_ids == (old.block_ids[0][1], new.block_ids[0][1])
    assert len({written, *states.write_ids}) == 3


def test_sequences_that_share_a_snapshot_read_it_together_and_none_writes_it():
    scheduler = make_scheduler(kinds=("state",))
    add(scheduler, "first", tokens(10))
    step(scheduler)                                                # up to the snapshot after 8 tokens
    add(scheduler, "second", [*tokens(9), 1])

    [states] = step_inputs(scheduler.schedule(), memory("state")).caches

    assert states.read_ids[0] == states.read_ids[1]
    assert states.read_ids[0] not in states.write_ids


def test_a_step_made_again_tells_the_same():
    scheduler = make_scheduler(kinds=("state", None))
    add(scheduler, "a", tokens(3))
    step(scheduler)
    plan = scheduler.schedule()

    first, again = (step_inputs(plan, memory("state", None)).caches for _ in range(2))

    assert (first[0].read_ids, first[0].write_ids) == (again[0].read_ids, again[0].write_ids)
    assert first[1].slots.tolist() == again[1].slots.tolist()


def test_a_model_that_stores_nothing_has_a_step_without_plans():
    scheduler = make_scheduler(kinds=())
    add(scheduler, "a", tokens(3))

    assert step_inputs(scheduler.schedule(), memory()).caches == ()


def test_an_encoders_input_comes_with_the_first_tokens_of_its_sequence_only():
    scheduler = make_scheduler()
    add(scheduler, "old", tokens(3), num_encoder_tokens=4)
    plan = scheduler.schedule()
    first = step_inputs(plan, memory(None)).encoder_ids
    apply(scheduler, plan)
    add(scheduler, "new", tokens(1, 200), num_encoder_tokens=2)

    later = step_inputs(scheduler.schedule(), memory(None)).encoder_ids

    assert {place: ids.tolist() for place, ids in first.items()} == {0: [0, 1, 2, 3]}
    assert {place: ids.tolist() for place, ids in later.items()} == {1: [0, 1]}
