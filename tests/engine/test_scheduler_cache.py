"""The scheduler and the cache: prefixes found, siblings held, windows freed, and preemption with what it keeps."""

from __future__ import annotations

from scheduling import add, apply, make_scheduler, parts, step, tokens


def test_a_prompt_starts_after_the_prefix_that_an_earlier_one_left():
    scheduler = make_scheduler()
    add(scheduler, "a", tokens(10), max_tokens=1)
    step(scheduler)
    seq = add(scheduler, "b", [*tokens(10), 1])

    [item] = step(scheduler).scheduled

    assert (item.start, item.num_new_tokens) == (8, 3)
    assert seq.num_cached_tokens == 8
    assert (scheduler.prefix_cache_queries, scheduler.prefix_cache_hits) == (21, 8)


def test_generated_tokens_are_found_by_the_next_turn():
    scheduler = make_scheduler()
    first = add(scheduler, "a", tokens(5), max_tokens=4)
    while scheduler.has_unfinished:
        step(scheduler)

    seq = add(scheduler, "b", [*first.token_ids, 1, 2])      # 9 tokens, of which 8 are in the cache
    step(scheduler)

    assert seq.num_cached_tokens == 8


def test_cached_tokens_are_counted_within_the_prompt_when_a_resumed_request_finds_its_output_too():
    scheduler = make_scheduler()
    add(scheduler, "a", tokens(12), max_tokens=1)
    step(scheduler)
    seq = add(scheduler, "resumed", tokens(5), output=tokens(7, 105))

    assert parts(step(scheduler)) == {"resumed": 4}               # 8 of 12 are in the cache
    assert seq.num_cached_tokens == 5


def test_prompt_logprobs_and_skip_reading_compute_the_whole_prompt():
    scheduler = make_scheduler()
    add(scheduler, "a", tokens(10), max_tokens=1)
    step(scheduler)
    add(scheduler, "scored", tokens(10), prompt_logprobs=1)
    add(scheduler, "fresh", tokens(10), skip_reading_prefix_cache=True)

    assert parts(step(scheduler)) == {"scored": 10, "fresh": 10}
    assert (scheduler.prefix_cache_queries, scheduler.prefix_cache_hits) == (10, 0)


def test_a_salt_keeps_a_prefix_to_itself():
    scheduler = make_scheduler()
    for request_id, salt, cached in [("a", "x", 0), ("b", "y", 0), ("c", "x", 8), ("d", None, 0)]:
        seq = add(scheduler, request_id, tokens(10), cache_salt=salt, max_tokens=1)
        step(scheduler)
        assert seq.num_cached_tokens == cached


def test_reset_prefix_cache_works_between_requests_only():
    scheduler = make_scheduler()
    add(scheduler, "a", tokens(10), max_tokens=2)
    step(scheduler)
    assert not scheduler.reset_prefix_cache()
    step(scheduler)
    assert scheduler.reset_prefix_cache()

    add(scheduler, "b", tokens(10))
    assert parts(step(scheduler)) == {"b": 10}


def test_siblings_wait_for_the_first_to_compute_their_prompt_and_others_go_on():
    scheduler = make_scheduler(max_num_batched_tokens=10)
    add(scheduler, "first", tokens(14))
    add(scheduler, "sibling", tokens(14))
    add(scheduler, "other", tokens(3, 300))

    assert parts(step(scheduler)) == {"first": 10}
    assert parts(step(scheduler)) == {"first": 4, "other": 3}     # the sibling's third block is still being computed
    assert scheduler.num_waiting == 1
    assert parts(step(scheduler)) == {"first": 1, "other": 1, "sibling": 2}


def test_a_sequence_that_waits_for_anothers_prefix_is_deferred():
    scheduler = make_scheduler(max_num_batched_tokens=10, long_prefill_token_threshold=4)
    add(scheduler, "first", tokens(14))
    add(scheduler, "sibling", tokens(14))
    assert (scheduler.num_waiting, scheduler.num_deferred) == (2, 0)

    assert parts(step(scheduler)) == {"first": 4}
    assert (scheduler.num_waiting, scheduler.num_deferred) == (1, 1)


def test_held_siblings_start_at_once_when_the_one_they_wait_for_is_aborted():
    scheduler = make_scheduler(max_num_batched_tokens=10)
    add(scheduler, "first", tokens(14))
    add(scheduler, "sibling", tokens(14))
    step(scheduler)                                               # blocks 0-3 and 4-7 of the first are done

    scheduler.abort("first")
    scheduler.check()

    assert parts(step(scheduler)) == {"sibling": 6}


def test_a_held_sibling_can_be_aborted():
    scheduler = make_scheduler(max_num_batched_tokens=10)
    add(scheduler, "first", tokens(14))
    sibling = add(scheduler, "sibling", tokens(14))
    step(scheduler)

    assert scheduler.abort("sibling") is sibling
    scheduler.check()
    assert scheduler.num_waiting == scheduler.num_deferred == 0
    step(scheduler)
    assert parts(step(scheduler)) == {"first": 1}


def test_a_sibling_that_reads_no_cache_is_not_held():
    scheduler = make_scheduler()
    add(scheduler, "first", tokens(14))
    add(scheduler, "scored", tokens(14), prompt_logprobs=1)

    assert parts(step(scheduler)) == {"first": 14, "scored": 14}


def test_without_prefix_caching_siblings_are_computed_side_by_side():
    scheduler = make_scheduler(prefix_caching=False)
    add(scheduler, "first", tokens(14))
    add(scheduler, "sibling", tokens(14))

    assert parts(step(scheduler)) == {"first": 14, "sibling": 14}


def test_a_windowed_group_keeps_only_its_window_while_the_sequence_advances():
    scheduler = make_scheduler(kinds=(None, 6))
    seq = add(scheduler, "a", tokens(8), max_tokens=12)
    step(scheduler)                                               # 8 computed; the next query sees 3 to 8
    assert [block_id == -1 for block_id in seq.block_ids[1]] == [False, False]

    step(scheduler)                                               # 9 computed; 4 to 9
    assert [block_id == -1 for block_id in seq.block_ids[1]] == [True, False, False]
    assert -1 not in seq.block_ids[0]


def test_when_blocks_run_out_the_youngest_sequence_waits_and_the_oldest_goes_on():
    scheduler = make_scheduler(num_blocks=4)
    old = add(scheduler, "old", tokens(6, 100), max_tokens=8)
    young = add(scheduler, "young", tokens(6, 200), max_tokens=8)
    for _ in range(3):
        step(scheduler)                                           # both have 8 computed tokens: all 4 blocks are full

    plan = scheduler.schedule()

    assert parts(plan) == {"old": 1}
    assert plan.preempted == (young,)
    assert (young.num_preemptions, young.num_computed_tokens, scheduler.num_preemptions) == (1, 0, 1)
    assert (scheduler.num_running, scheduler.num_waiting) == (1, 1)
    assert len(old.block_ids[0]) == 3
    scheduler.check()


def test_a_preempted_sequence_goes_on_from_its_blocks_that_are_still_in_the_cache():
    scheduler = make_scheduler(num_blocks=4)
    add(scheduler, "old", tokens(6, 100), max_tokens=5)
    young = add(scheduler, "young", tokens(6, 200), max_tokens=5)
    for _ in range(5):
        step(scheduler)                                           # the fourth preempts young, the fifth ends old

    [item] = step(scheduler).scheduled

    # Of its 9 known tokens 8 are in 2 blocks. Old took young's last one, 4-7, so 0-3 is left.
    assert (item.seq, item.start, item.num_new_tokens) == (young, 4, 5)
    assert young.num_cached_tokens == 0                           # of the prompt, when it first came
    step(scheduler)
    assert (young.finish_reason, young.output_token_ids) == ("length", [7] * 5)


def test_a_preempted_sequence_is_first_in_line_again():
    scheduler = make_scheduler(num_blocks=4, max_num_seqs=2)
    add(scheduler, "old", tokens(6, 100), max_tokens=4)
    add(scheduler, "young", tokens(6, 200), max_tokens=4)
    add(scheduler, "newcomer", tokens(2, 300), max_tokens=2)
    for _ in range(4):
        step(scheduler)                                           # the fourth preempts young and ends old

    assert list(parts(step(scheduler))) == ["young", "newcomer"]


def test_a_preempted_sequence_does_not_come_back_into_blocks_that_the_running_one_is_about_to_need():
    scheduler = make_scheduler(num_blocks=6)
    add(scheduler, "old", tokens(6, 100), max_tokens=16)
    add(scheduler, "young", tokens(6, 200), max_tokens=16)
    while scheduler.has_unfinished:
        step(scheduler)

    assert scheduler.num_preemptions == 1


def test_under_priority_the_least_important_running_sequence_is_preempted_whatever_its_age():
    scheduler = make_scheduler(num_blocks=4, policy="priority")
    unimportant = add(scheduler, "unimportant", tokens(6, 100), priority=5, max_tokens=8)
    add(scheduler, "important", tokens(6, 200), priority=1, max_tokens=8)
    for _ in range(3):
        step(scheduler)

    plan = scheduler.schedule()

    assert parts(plan) == {"important": 1}
    assert plan.preempted == (unimportant,)


def test_a_prefill_that_runs_out_of_blocks_takes_those_of_a_decode_planned_for_the_same_step():
    scheduler = make_scheduler(num_blocks=8, max_num_batched_tokens=2, policy="priority")
    decode = add(scheduler, "decode", tokens(4, 100), priority=5, max_tokens=20)
    step(scheduler)
    step(scheduler)
    add(scheduler, "prompt", tokens(20, 200), priority=1, max_tokens=2)
    for _ in range(12):
        assert parts(step(scheduler)) == {"decode": 1, "prompt": 1}

    plan = scheduler.schedule()                   # 4 and 3 blocks are full, one is left, and both need another

    assert parts(plan) == {"prompt": 1}
    assert plan.preempted == (decode,)
    assert plan.num_tokens == 1
    scheduler.check()


def test_prompts_that_come_back_read_what_they_computed_even_when_a_hybrid_window_has_moved_on():
    scheduler = make_scheduler(num_blocks=[6, 6], kinds=(None, 6), max_num_batched_tokens=16)
    add(scheduler, "old", tokens(10, 100), max_tokens=8)
    young = add(scheduler, "young", tokens(6, 200), max_tokens=8)
    while young.num_preemptions == 0:
        step(scheduler)
    scheduler.abort("old")

    [item] = step(scheduler).scheduled

    assert item.seq is young
    assert item.start % 4 == 0 and item.start > 0


def test_aborting_a_sequence_of_a_plan_leaves_the_others_blocks_alone():
    scheduler = make_scheduler(num_blocks=8)
    add(scheduler, "a", tokens(8, 100))
    add(scheduler, "b", tokens(8, 200))
    plan = scheduler.schedule()
    scheduler.abort("a")
    scheduler.check()

    apply(scheduler, plan)
    later = add(scheduler, "c", [*tokens(8, 100), 1])
    step(scheduler)

    assert later.num_cached_tokens == 0                           # a's blocks were never entered as computed
