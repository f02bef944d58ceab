"""What a step holds: decodes, chunks, admission, the end of a sequence, and what is refused at the door."""

from __future__ import annotations

import pytest
from scheduling import EOS, add, apply, make_scheduler, make_seq, parts, pool, step, tokens

from weft.engine.step_plan import Scheduled
from weft.errors import QueueFullError, RequestError


def test_a_prompt_that_fits_is_computed_in_one_step_and_then_decodes():
    scheduler = make_scheduler()
    seq = add(scheduler, "a", tokens(5))

    plan = step(scheduler)

    assert [(item.num_new_tokens, item.start, item.num_rows) for item in plan.scheduled] == [(5, 0, 1)]
    assert plan.num_tokens == 5
    assert seq.token_ids == [*tokens(5), 7]
    [decode] = step(scheduler).scheduled
    assert (decode.num_new_tokens, decode.start, decode.num_rows) == (1, 5, 1)


def test_a_long_prompt_is_cut_into_chunks_of_which_the_last_is_sampled():
    scheduler = make_scheduler(max_num_batched_tokens=6)
    add(scheduler, "a", tokens(14))

    chunks = [step(scheduler).scheduled[0] for _ in range(3)]

    assert [(chunk.start, chunk.num_new_tokens, chunk.num_rows) for chunk in chunks] == [
        (0, 6, 0), (6, 6, 0), (12, 2, 1)]


def test_decodes_go_first_and_chunks_share_what_is_left():
    scheduler = make_scheduler(max_num_batched_tokens=8)
    add(scheduler, "a", tokens(3, 100))
    add(scheduler, "b", tokens(3, 200))
    step(scheduler)
    add(scheduler, "c", tokens(10, 300))
    add(scheduler, "d", tokens(10, 400))

    first, second, third = step(scheduler), step(scheduler), step(scheduler)

    assert parts(first) == {"a": 1, "b": 1, "c": 6}
    assert parts(second) == {"a": 1, "b": 1, "c": 4, "d": 2}
    assert parts(third) == {"a": 1, "b": 1, "c": 1, "d": 5}
    assert [item.seq.request_id for item in third.scheduled] == ["a", "b", "c", "d"]


def test_a_single_token_prompt_counts_as_a_decode_and_stands_among_them():
    scheduler = make_scheduler()
    add(scheduler, "long", tokens(5))
    add(scheduler, "short", tokens(1, 300))

    plan = step(scheduler)

    assert [item.seq.request_id for item in plan.scheduled] == ["short", "long"]


def test_the_long_prefill_threshold_caps_each_prompts_chunk():
    scheduler = make_scheduler(max_num_batched_tokens=20, long_prefill_token_threshold=6)
    add(scheduler, "a", tokens(10, 100))
    add(scheduler, "b", tokens(10, 200))

    assert parts(step(scheduler)) == {"a": 6, "b": 6}
    assert parts(step(scheduler)) == {"a": 4, "b": 4}


def test_without_chunked_prefill_a_prompt_waits_until_the_step_has_room_for_all_of_it():
    scheduler = make_scheduler(max_num_batched_tokens=64, enable_chunked_prefill=False, long_prefill_token_threshold=6)
    add(scheduler, "a", tokens(40, 100))
    add(scheduler, "b", tokens(30, 200))
    add(scheduler, "c", tokens(3, 300))

    assert parts(step(scheduler)) == {"a": 40}            # b is next in line and does not fit; c does not overtake it
    assert parts(step(scheduler)) == {"a": 1, "b": 30, "c": 3}


def test_no_more_sequences_run_than_max_num_seqs():
    scheduler = make_scheduler(max_num_seqs=2)
    for number in range(3):
        add(scheduler, f"{number}", tokens(3, 100 * number), max_tokens=2)

    assert parts(step(scheduler)) == {"0": 3, "1": 3}
    assert (scheduler.num_running, scheduler.num_waiting) == (2, 1)
    step(scheduler)                                       # both get their second token and finish
    assert parts(step(scheduler)) == {"2": 3}


def test_more_decodes_than_tokens_in_a_step_take_turns_by_age():
    scheduler = make_scheduler(max_num_batched_tokens=2)
    for number in range(3):
        add(scheduler, f"{number}", tokens(1, 100 * number), max_tokens=3)

    assert [parts(step(scheduler)) for _ in range(3)] == [{"0": 1, "1": 1}] * 3
    assert parts(step(scheduler)) == {"2": 1}


def test_a_waiting_sequence_starts_only_when_its_prompt_and_the_next_token_fit():
    scheduler = make_scheduler(num_blocks=5)              # 20 tokens
    add(scheduler, "a", tokens(6, 100), max_tokens=2)     # 2 blocks
    add(scheduler, "b", tokens(12, 200), max_tokens=2)    # 12 + 1 tokens need 4

    assert parts(step(scheduler)) == {"a": 6}
    assert scheduler.num_waiting == 1


def test_the_last_token_of_all_needs_no_room():
    scheduler = make_scheduler(num_blocks=3)
    seq = add(scheduler, "a", tokens(12), max_tokens=1)   # 3 blocks; its only new token is never stored

    step(scheduler)

    assert seq.finish_reason == "length"


def test_a_prefill_under_way_keeps_the_free_blocks_it_will_need():
    scheduler = make_scheduler(num_blocks=8, max_num_batched_tokens=8)
    add(scheduler, "a", tokens(20, 100), max_tokens=2)    # 6 blocks in the end, 2 after the first step
    step(scheduler)
    add(scheduler, "b", tokens(10, 200), max_tokens=2)    # 3 blocks; 6 are free, 4 of them a's

    assert parts(step(scheduler)) == {"a": 8}
    assert parts(step(scheduler)) == {"a": 4}
    assert scheduler.num_preemptions == 0


def test_the_head_of_the_line_is_not_overtaken_by_a_smaller_one():
    scheduler = make_scheduler(num_blocks=6)
    add(scheduler, "first", tokens(12, 100), max_tokens=3)
    step(scheduler)
    add(scheduler, "large", tokens(16, 200), max_tokens=2)
    add(scheduler, "small", tokens(2, 300), max_tokens=2)

    assert parts(step(scheduler)) == {"first": 1}
    assert parts(step(scheduler)) == {"first": 1}         # finishes
    assert parts(step(scheduler)) == {"large": 16, "small": 2}


def test_eos_ends_a_sequence_is_kept_and_gives_no_stop_reason():
    scheduler = make_scheduler()
    seq = add(scheduler, "a", tokens(3), stop_token_ids=[EOS])

    plan = scheduler.schedule()
    finished = apply(scheduler, plan, EOS)

    assert finished == [seq]
    assert (seq.finish_reason, seq.stop_reason, seq.output_token_ids) == ("stop", None, [EOS])
    assert not scheduler.has_unfinished
    assert scheduler.kv_cache_usage == 0


def test_a_stop_token_ends_a_sequence_and_is_its_stop_reason():
    scheduler = make_scheduler()
    seq = add(scheduler, "a", tokens(3), stop_token_ids=[50, 51])

    step(scheduler, 51)

    assert (seq.finish_reason, seq.stop_reason) == ("stop", 51)


def test_ignore_eos_goes_on_after_it_unless_it_is_a_stop_token_too():
    scheduler = make_scheduler()
    goes_on = add(scheduler, "a", tokens(3), ignore_eos=True)
    stops = add(scheduler, "b", tokens(3, 200), ignore_eos=True, stop_token_ids=[EOS])

    step(scheduler, EOS)

    assert goes_on.finish_reason is None
    assert (stops.finish_reason, stops.stop_reason) == ("stop", EOS)


def test_neither_eos_nor_a_stop_token_ends_a_sequence_before_min_tokens():
    scheduler = make_scheduler()
    seq = add(scheduler, "a", tokens(3), min_tokens=3, stop_token_ids=[50])

    for token_id in (EOS, 50):
        step(scheduler, token_id)
    assert seq.finish_reason is None
    step(scheduler, 50)
    assert (seq.finish_reason, seq.num_output_tokens) == ("stop", 3)


def test_max_tokens_and_the_context_end_a_sequence_with_length():
    scheduler = make_scheduler(max_model_len=10)
    few = add(scheduler, "few", tokens(3, 100), max_tokens=2)
    full = add(scheduler, "full", tokens(8, 200), max_tokens=50)

    step(scheduler)
    assert step(scheduler).num_tokens == 2

    assert (few.finish_reason, few.num_output_tokens) == ("length", 2)
    assert (full.finish_reason, full.num_tokens) == ("length", 10)


def test_tokens_after_the_end_of_a_sequence_are_dropped():
    scheduler = make_scheduler()
    seq = add(scheduler, "a", tokens(3))

    scheduler.apply(scheduler.schedule(), [[1, EOS, 2]])

    assert seq.output_token_ids == [1, EOS]


def test_several_accepted_tokens_are_computed_together_in_the_next_step():
    scheduler = make_scheduler()
    add(scheduler, "a", tokens(3))
    scheduler.apply(scheduler.schedule(), [[1, 2, 3]])

    [item] = step(scheduler).scheduled

    assert (item.start, item.num_new_tokens, item.num_rows) == (3, 3, 1)


def test_a_resumed_requests_tokens_count_as_output():
    scheduler = make_scheduler()
    seq = add(scheduler, "a", tokens(3), output=[1, 2], max_tokens=4)

    assert parts(step(scheduler)) == {"a": 5}
    step(scheduler)
    assert (seq.finish_reason, seq.output_token_ids) == ("length", [1, 2, 7, 7])


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused_with_the_numbers():
    scheduler = make_scheduler(max_model_len=32)
    add(scheduler, "fits", tokens(31))

    with pytest.raises(RequestError, match=r"32 tokens.*1 to 31 tokens.*max_model_len is 32"):
        add(scheduler, "too long", tokens(32, 200))
    with pytest.raises(RequestError, match="0 tokens"):
        add(scheduler, "empty", [])
    assert scheduler.num_waiting == 1


def test_a_request_that_could_outgrow_the_whole_cache_is_refused_with_the_numbers():
    scheduler = make_scheduler(num_blocks=3)                       # 12 tokens, and the last is not stored
    add(scheduler, "fits", tokens(8, 100), max_tokens=5)

    with pytest.raises(RequestError, match=r"max_tokens = 6: .*up to 13 tokens .*need 4 blocks of 4, and there are 3"):
        add(scheduler, "too large", tokens(8, 200), max_tokens=6)


def test_what_just_fits_the_cache_runs_to_its_end():
    scheduler = make_scheduler(num_blocks=3)
    seq = add(scheduler, "fits", tokens(8), max_tokens=5)

    for _ in range(5):
        step(scheduler)

    assert (seq.finish_reason, seq.num_output_tokens, seq.num_preemptions) == ("length", 5, 0)


def test_a_window_needs_no_room_for_what_it_leaves_behind():
    scheduler = make_scheduler(num_blocks=[10, 4], kinds=(None, 6), max_num_batched_tokens=4)
    seq = add(scheduler, "a", tokens(20), max_tokens=21)           # 10 full blocks; of the window 3 at most

    while scheduler.has_unfinished:
        step(scheduler)

    assert seq.num_tokens == 41
    with pytest.raises(RequestError, match="need 11 blocks of 4, and there are 10"):
        add(scheduler, "b", tokens(20), max_tokens=22)


def test_a_request_resumed_after_its_last_token_is_refused():
    with pytest.raises(RequestError, match="output_token_ids = '2 tokens': expected fewer than max_tokens = 2"):
        add(make_scheduler(), "a", tokens(3), output=[1, 2], max_tokens=2)


def test_two_unfinished_requests_cannot_have_one_id():
    scheduler = make_scheduler()
    add(scheduler, "a", tokens(3))

    with pytest.raises(RequestError, match="request_id = 'a'"):
        add(scheduler, "a", tokens(3))


def test_the_queue_has_a_limit_and_running_sequences_do_not_count():
    scheduler = make_scheduler(max_num_queued_reqs=2)
    for number in range(2):
        add(scheduler, f"{number}", tokens(3, 100 * number))

    with pytest.raises(QueueFullError, match="2 requests are waiting and max_num_queued_reqs is 2"):
        scheduler.add(make_seq("2", tokens(3)))
    step(scheduler)
    add(scheduler, "2", tokens(3))
    assert (scheduler.num_running, scheduler.num_waiting) == (2, 1)


def test_priority_goes_by_value_then_by_arrival_then_by_insertion():
    scheduler = make_scheduler(policy="priority", max_num_seqs=1)
    for request_id, priority, arrival_time in [
            ("late", 1, 5.0), ("early", 1, 2.0), ("twin", 1, 2.0), ("urgent", 0, 9.0)]:
        add(scheduler, request_id, tokens(3), priority=priority, arrival_time=arrival_time, max_tokens=1)

    assert [next(iter(parts(step(scheduler)))) for _ in range(4)] == ["urgent", "early", "twin", "late"]


def test_first_come_first_served_goes_by_insertion():
    scheduler = make_scheduler(max_num_seqs=1)
    for request_id, arrival_time in [("b", 2.0), ("a", 1.0)]:
        add(scheduler, request_id, tokens(3), arrival_time=arrival_time, max_tokens=1)

    assert [next(iter(parts(step(scheduler)))) for _ in range(2)] == ["b", "a"]


def test_an_aborted_sequence_leaves_the_queue_or_gives_its_blocks_back():
    scheduler = make_scheduler(max_num_seqs=1)
    running, waiting = add(scheduler, "runs", tokens(9)), add(scheduler, "waits", tokens(3))
    step(scheduler)

    assert scheduler.abort("waits") is waiting
    assert scheduler.abort("runs") is running
    scheduler.check()
    assert (running.finish_reason, waiting.finish_reason) == ("abort", "abort")
    assert (scheduler.num_running, scheduler.num_waiting, scheduler.kv_cache_usage) == (0, 0, 0.0)
    assert scheduler.abort("runs") is None
    assert step(scheduler).scheduled == ()


def test_a_sequence_aborted_between_schedule_and_apply_is_passed_over():
    scheduler = make_scheduler()
    gone, stays = add(scheduler, "gone", tokens(5, 100)), add(scheduler, "stays", tokens(5, 200))
    plan = scheduler.schedule()
    scheduler.abort("gone")

    assert apply(scheduler, plan) == []
    assert (gone.num_output_tokens, stays.num_output_tokens) == (0, 1)
    assert parts(step(scheduler)) == {"stays": 1}


def test_a_failed_sequence_can_end_with_another_reason():
    scheduler = make_scheduler()
    seq = add(scheduler, "a", tokens(3))

    scheduler.abort("a", reason="error")

    assert seq.finish_reason == "error"


def test_a_plan_that_was_given_up_is_made_again():
    scheduler = make_scheduler()
    add(scheduler, "a", tokens(5))

    assert parts(scheduler.schedule()) == {"a": 5}
    assert parts(step(scheduler)) == {"a": 5}


def test_many_aborted_sequences_leave_a_queue_that_still_serves_in_order():
    scheduler = make_scheduler(max_num_seqs=1)
    for number in range(50):
        add(scheduler, f"{number}", tokens(3), max_tokens=1)
    for number in range(0, 50, 2):
        scheduler.abort(f"{number}")
        scheduler.check()

    assert scheduler.num_waiting == 25
    assert [next(iter(parts(step(scheduler)))) for _ in range(3)] == ["1", "3", "5"]


def test_a_part_keeps_the_known_tokens_and_the_drafts_that_were_right():
    part = Scheduled(make_seq("a", tokens(5)), 4, 4, 4, (1, 2, 3))             # one known token and three drafts

    assert [part.num_kept(num_sampled) for num_sampled in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert part.num_kept(0) == 1                                              # its first row failed
    assert Scheduled(make_seq("b", tokens(5)), 5, 0, 1).num_kept(1) == 5
    assert Scheduled(make_seq("c", tokens(9)), 5, 0, 0).num_kept(0) == 5


def drafting(scheduler, request_id, num_tokens, drafts, **options):
    """A sequence in decode, with drafts for the next step."""
    seq = add(scheduler, request_id, tokens(num_tokens, 100 * (1 + scheduler.num_running)), **options)
    step(scheduler)
    seq.draft_token_ids = list(drafts)
    return seq


def test_drafts_are_verified_with_the_token_before_them_and_only_the_right_ones_are_kept():
    scheduler = make_scheduler(has_drafts=True)
    seq = drafting(scheduler, "a", 6, [8, 9, 10, 11, 12])                     # six tokens computed, seven known

    plan = scheduler.schedule()
    assert plan.scheduled == (Scheduled(seq, 6, 6, 6, (8, 9, 10, 11, 12)),)
    assert plan.num_tokens == 6
    assert len(seq.block_ids[0]) == 3                                         # twelve tokens in blocks of four
    scheduler.apply(plan, [[8, 9, 77]])                                       # two drafts are right

    assert seq.token_ids == [*tokens(6), 7, 8, 9, 77]
    assert seq.num_computed_tokens == 9
    assert len(seq.block_keys) == 2                                           # the third block is not full
    scheduler.check()


def test_blocks_of_rejected_drafts_go_back_after_the_step():
    scheduler = make_scheduler(has_drafts=True)
    seq = drafting(scheduler, "a", 6, [8, 9, 10, 11, 12])

    scheduler.apply(scheduler.schedule(), [[1]])

    assert (seq.num_computed_tokens, len(seq.block_ids[0])) == (7, 2)
    scheduler.check()


def test_decodes_without_drafts_come_first_then_those_with_drafts_then_chunks():
    scheduler = make_scheduler(has_drafts=True)
    first = drafting(scheduler, "drafts", 5, [])
    drafting(scheduler, "plain", 5, [])
    first.draft_token_ids = [1, 2]
    add(scheduler, "prompt", tokens(9, 900))

    plan = scheduler.schedule()

    assert parts(plan) == {"plain": 1, "drafts": 3, "prompt": 9}
    assert [item.seq.request_id for item in plan.scheduled] == ["plain", "drafts", "prompt"]


def test_drafts_take_only_what_prefills_leave_of_the_step():
    scheduler = make_scheduler(has_drafts=True, max_num_batched_tokens=10)
    drafting(scheduler, "a", 5, [1, 2, 3, 4, 5])
    add(scheduler, "b", tokens(7, 300))

    assert parts(scheduler.schedule()) == {"a": 3, "b": 7}


def test_drafts_shrink_where_the_sequence_may_not_get_longer():
    scheduler = make_scheduler(has_drafts=True)
    seq = drafting(scheduler, "a", 5, [1, 2, 3, 4, 5], max_tokens=4)          # one is known, three may come

    plan = scheduler.schedule()
    assert parts(plan) == {"a": 3}
    assert scheduler.apply(plan, [[1, 2, 9]]) == [seq]
    assert (seq.output_token_ids, seq.finish_reason) == ([7, 1, 2, 9], "length")


def test_drafts_shrink_to_the_blocks_that_are_free_and_preempt_nobody():
    scheduler = make_scheduler(has_drafts=True, num_blocks=5, prefix_caching=False)
    one = drafting(scheduler, "a", 6, [], max_tokens=10)
    other = drafting(scheduler, "b", 6, [], max_tokens=10)                    # two blocks each: one is free
    for seq in (one, other):
        seq.draft_token_ids = [1, 2, 3, 4, 5]

    plan = scheduler.schedule()

    assert plan.preempted == ()
    assert parts(plan) == {"a": 1, "b": 1 + 5}             # a: its blocks are full, and five drafts need two more
    scheduler.check()


def test_tokens_after_the_end_of_a_sequence_are_dropped_also_when_drafted():
    scheduler = make_scheduler(has_drafts=True)
    seq = drafting(scheduler, "a", 5, [1, EOS, 2, 3])

    [finished] = scheduler.apply(scheduler.schedule(), [[1, EOS, 2, 3, 4]])

    assert finished is seq
    assert (seq.output_token_ids, seq.finish_reason) == ([7, 1, EOS], "stop")
    scheduler.check()


def test_a_pooled_sequence_ends_when_its_prompt_is_computed_and_no_token_is_sampled():
    scheduler = make_scheduler(max_num_batched_tokens=6)
    seq, beside = pool(scheduler, "a", tokens(13)), add(scheduler, "b", tokens(2))

    plans = [step(scheduler) for _ in range(3)]

    assert [parts(plan)["a"] for plan in plans] == [6, 6, 1]
    assert not any(item.num_rows for plan in plans for item in plan.scheduled if item.seq is seq)
    assert (seq.finish_reason, seq.num_output_tokens, seq.block_ids[0]) == ("stop", 0, [])
    assert beside.finish_reason is None


def test_a_pooled_prompt_may_fill_the_context():
    scheduler = make_scheduler(max_model_len=16, max_num_batched_tokens=16)

    assert pool(scheduler, "a", tokens(16))
    with pytest.raises(RequestError, match=r"prompt = '17 tokens': expected 1 to 16 tokens. max_model_len is 16."):
        pool(scheduler, "b", tokens(17))
    step(scheduler)
    assert not scheduler.has_unfinished


def test_a_pooled_prompt_that_outgrows_the_cache_is_refused_as_a_prompt():
    scheduler = make_scheduler(num_blocks=2)

    with pytest.raises(RequestError, match=r"prompt = .*a request that fits the cache"):
        pool(scheduler, "a", tokens(20))


def test_a_pooled_sequence_that_is_preempted_is_computed_again():
    scheduler = make_scheduler(num_blocks=4, max_num_batched_tokens=6)
    old, young = add(scheduler, "a", tokens(6, 100), max_tokens=8), pool(scheduler, "b", tokens(8, 200))
    while scheduler.has_unfinished:
        step(scheduler)

    assert (old.finish_reason, young.finish_reason) == ("length", "stop")


def test_without_chunked_prefill_a_prompt_longer_than_a_step_is_refused_with_both_numbers():
    scheduler = make_scheduler(max_num_batched_tokens=8, enable_chunked_prefill=False)

    assert pool(scheduler, "a", tokens(8))
    with pytest.raises(RequestError, match="prompt = '9 tokens': expected up to max_num_batched_tokens = 8"):
        pool(scheduler, "b", tokens(9))


def test_a_sequence_whose_grammar_is_compiled_holds_nobody_up_and_then_takes_its_place():
    scheduler = make_scheduler(max_num_seqs=1)
    compiling = make_seq("a", tokens(3, 100))
    scheduler.add(compiling, is_compiling=True)
    assert scheduler.is_only_compiling and step(scheduler).scheduled == ()
    add(scheduler, "b", tokens(3, 200), max_tokens=1)
    add(scheduler, "c", tokens(3, 300))
    assert scheduler.num_waiting == 3 and not scheduler.is_only_compiling

    first = step(scheduler)
    scheduler.compiled("a")
    second = step(scheduler)
    scheduler.check()

    assert [item.seq.request_id for plan in (first, second) for item in plan.scheduled] == ["b", "a"]


def test_a_sequence_ends_while_its_grammar_is_compiled():
    scheduler = make_scheduler()
    scheduler.add(make_seq("a", tokens(3)), is_compiling=True)

    assert scheduler.abort("a").finish_reason == "abort"
    scheduler.compiled("a")
    scheduler.check()

    assert (scheduler.num_waiting, scheduler.has_unfinished, step(scheduler).scheduled) == (0, False, ())
