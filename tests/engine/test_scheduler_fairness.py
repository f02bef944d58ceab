"""Who gets a place, and what a step costs the others: queue limits, urgent sequences, very long prompts."""

from __future__ import annotations

import pytest
from scheduling import add, make_scheduler, make_seq, parts, step, tokens

from weft.errors import QueueFullError


def test_the_queue_has_a_limit_in_tokens_that_running_sequences_do_not_count_against():
    scheduler = make_scheduler(max_num_queued_tokens=10, max_num_seqs=1)
    add(scheduler, "runs", tokens(8))
    step(scheduler)
    add(scheduler, "waits", tokens(6, 200))

    with pytest.raises(QueueFullError, match="Requests with 6 tokens are waiting, this one has 5, and "
                                             "max_num_queued_tokens is 10"):
        scheduler.add(make_seq("long", tokens(5, 300)))
    add(scheduler, "short", tokens(4, 400))
    assert scheduler.num_queued_tokens == 10


def test_a_sequence_longer_than_the_limit_is_taken_when_nobody_waits():
    scheduler = make_scheduler(max_num_queued_tokens=10)

    add(scheduler, "long", tokens(20))

    assert parts(step(scheduler)) == {"long": 20}


def test_tokens_that_wait_are_counted_through_abort_and_preemption():
    scheduler = make_scheduler(num_blocks=4, max_num_seqs=2)      # blocks of 4 tokens
    for request_id, prompt in (("a", tokens(7)), ("b", tokens(7, 200)), ("c", tokens(3, 300))):
        add(scheduler, request_id, prompt, max_tokens=6)
    assert scheduler.num_queued_tokens == 17

    step(scheduler), step(scheduler)                              # a and b run; then both need a third block
    assert scheduler.num_queued_tokens == 3
    step(scheduler)                                               # b gives way, with its 9 tokens
    assert scheduler.num_queued_tokens == 12
    scheduler.abort("b")
    assert scheduler.num_queued_tokens == 3


def test_an_urgent_sequence_takes_the_place_of_the_least_urgent_one():
    scheduler = make_scheduler(policy="priority", max_num_seqs=2)
    add(scheduler, "a", tokens(3), priority=1)
    least = add(scheduler, "b", tokens(3, 200), priority=5)
    step(scheduler)
    add(scheduler, "urgent", tokens(3, 300), priority=0)

    plan = step(scheduler)

    assert plan.preempted == (least,)
    assert parts(plan) == {"a": 1, "urgent": 3}


def test_an_urgent_sequence_takes_blocks_where_places_are_left():
    scheduler = make_scheduler(policy="priority", num_blocks=4)
    big = add(scheduler, "big", tokens(13), priority=5, max_tokens=2)
    step(scheduler)
    add(scheduler, "urgent", tokens(6, 200), priority=0, max_tokens=2)

    plan = step(scheduler)

    assert plan.preempted == (big,)
    assert parts(plan) == {"urgent": 6}


def test_an_equally_urgent_sequence_waits_for_its_turn():
    scheduler = make_scheduler(policy="priority", max_num_seqs=1)
    add(scheduler, "a", tokens(3), priority=1, arrival_time=2.0)
    step(scheduler)
    add(scheduler, "earlier", tokens(3, 200), priority=1, arrival_time=1.0)

    plan = step(scheduler)

    assert plan.preempted == ()
    assert parts(plan) == {"a": 1}


def test_who_gave_way_goes_on_when_the_urgent_one_has_ended():
    scheduler = make_scheduler(policy="priority", max_num_seqs=1)
    waited = add(scheduler, "a", tokens(3), priority=1, max_tokens=4)
    step(scheduler)
    add(scheduler, "urgent", tokens(3, 200), priority=0, max_tokens=1)
    step(scheduler)

    while not waited.is_finished:
        step(scheduler)

    assert waited.output_token_ids == [7, 7, 7, 7]


def test_a_prompt_as_long_as_the_context_takes_no_step_from_those_that_decode():
    scheduler = make_scheduler(num_blocks=200, max_model_len=400, max_num_batched_tokens=32)
    decodes = [add(scheduler, f"{i}", tokens(3, 1000 * i), max_tokens=60) for i in range(4)]
    step(scheduler)
    add(scheduler, "long", tokens(399, 10_000))

    for num_steps in range(1, 15):                # 28 tokens of the prompt fit beside four decodes
        plan = step(scheduler)
        assert [len(seq.output_token_ids) for seq in decodes] == [1 + num_steps] * 4
        assert plan.num_tokens <= 32

    assert parts(step(scheduler))["long"] == 399 - 14 * 28


def test_a_limit_on_chunks_leaves_room_for_other_prompts():
    scheduler = make_scheduler(num_blocks=200, max_model_len=400, max_num_batched_tokens=32,
                               long_prefill_token_threshold=8)
    add(scheduler, "long", tokens(399)), add(scheduler, "short", tokens(5, 10_000))

    assert parts(step(scheduler)) == {"long": 8, "short": 5}


# Seconds of a step on a machine, which the tests make up: so much for the weights, so much for each token.
WEIGHTS_S, TOKEN_S = 0.020, 0.0005


def paced(num_decodes: int, **config):
    """A scheduler whose steps keep pace, and sequences that decode."""
    scheduler = make_scheduler(num_blocks=3000, max_model_len=4000, max_num_batched_tokens=2048, prefill_slowdown=2.0,
                               **config)
    decodes = [add(scheduler, f"{i}", tokens(3, 10_000 * (i + 1)), max_tokens=900) for i in range(num_decodes)]
    return scheduler, decodes


def timed_step(scheduler) -> float:
    """One step, and the seconds that it takes."""
    plan = scheduler.schedule()
    seconds = WEIGHTS_S + TOKEN_S * plan.num_tokens
    scheduler.pace.note(plan, seconds)
    scheduler.apply(plan, [[7] if item.num_rows else [] for item in plan.scheduled])
    scheduler.check()
    return seconds


def test_while_a_prompt_as_long_as_the_context_is_read_steps_take_at_most_twice_their_time():
    scheduler, decodes = paced(4)
    alone = [timed_step(scheduler) for _ in range(5)][-1]
    long = add(scheduler, "long", tokens(3999, 200_000), max_tokens=1)

    seconds = []
    while not long.is_finished:
        seconds.append(timed_step(scheduler))

    assert max(seconds[1:]) <= 2 * alone + TOKEN_S < seconds[0]      # nothing was measured before the first one
    assert len(seconds) == 1 + -(-(3999 - 64) // 44)                 # 44 tokens: the time of a step of four decodes
    assert [len(seq.output_token_ids) for seq in decodes] == [5 + len(seconds)] * 4


def test_several_long_prompts_share_what_a_step_has_for_them_and_none_stands_still():
    scheduler, _ = paced(1)
    for _ in range(3):
        timed_step(scheduler)
    for i in range(3):
        add(scheduler, f"long{i}", tokens(3000, 200_000 + 10_000 * i), max_tokens=1)

    assert parts(step(scheduler)) == {"0": 1, "long0": 64, "long1": 16, "long2": 16}


def test_a_short_prompt_is_read_at_once_beside_a_long_one():
    scheduler, _ = paced(1)
    timed_step(scheduler)
    add(scheduler, "long", tokens(3000, 200_000)), add(scheduler, "short", tokens(512, 300_000))

    assert parts(step(scheduler)) == {"0": 1, "long": 64, "short": 512}


def test_a_long_prompt_alone_takes_whole_steps():
    scheduler, _ = paced(0)
    add(scheduler, "long", tokens(3000, 200_000))

    assert parts(step(scheduler)) == {"long": 2048}
    assert parts(step(scheduler)) == {"long": 952}


def test_a_step_that_was_late_for_other_reasons_changes_no_share():
    scheduler, _ = paced(1)
    for _ in range(9):
        timed_step(scheduler)
    add(scheduler, "long", tokens(3000, 200_000))
    timed_step(scheduler), timed_step(scheduler), timed_step(scheduler)
    before = scheduler.pace.limit

    scheduler.pace.note(scheduler.schedule(), 5.0)

    assert scheduler.pace.limit == before
