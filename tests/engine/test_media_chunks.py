"""A chunk ends before an item whose rows are not there and do not fit; items that see themselves are never cut."""

import pytest
from scheduling import make_cache, tokens

from weft.config.engine_config import SchedulerConfig
from weft.engine.process.messages import EngineRequest, MediaInput
from weft.engine.scheduler import Scheduler
from weft.engine.sequence import Sequence
from weft.errors import RequestError
from weft.sampling_params import SamplingParams


def item(name: str, *spans: tuple[int, int]) -> MediaInput:
    return MediaInput(kind="image", digest=name.encode(), spans=list(spans), tensors={})


def scheduler(budget: int, unit: str = "rows", **options) -> Scheduler:
    config = SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=budget, **options)
    return Scheduler(config, make_cache(prefix_caching=False), max_model_len=64, media_unit=unit)


def add(target: Scheduler, name: str, length: int, *media: MediaInput) -> Sequence:
    seq = Sequence(EngineRequest(request_id=name, prompt_token_ids=tokens(length), eos_token_ids=[], arrival_time=0.0,
                                 params=SamplingParams(max_tokens=2), media=list(media)))
    target.add(seq)
    return seq


def step(target: Scheduler) -> list[tuple[str, int, int]]:
    """The parts of a step (request, first token, tokens), which is applied."""
    plan = target.schedule()
    target.apply(plan, [[7] * part.num_rows for part in plan.scheduled])
    target.check()
    return [(part.seq.request_id, part.start, part.num_new_tokens) for part in plan.scheduled]


def test_a_chunk_may_end_within_an_item():
    one = scheduler(8)
    add(one, "a", 12, item("x", (4, 10)))

    assert [step(one), step(one)] == [[("a", 0, 8)], [("a", 8, 4)]]
    assert one.media.cache.num_rows == 6


def test_a_chunk_ends_before_an_item_beyond_the_budget_and_the_next_step_computes_it():
    one = scheduler(8)
    add(one, "a", 8, item("x", (1, 4)))
    add(one, "b", 8, item("y", (0, 6)))
    one.media.budget = 5

    assert step(one) == [("a", 0, 8)]
    assert step(one) == [("a", 8, 1), ("b", 0, 7)]


def test_an_item_waits_until_another_sequence_has_let_go_of_its_rows():
    one = scheduler(10)
    add(one, "a", 14, item("x", (0, 12)))
    add(one, "b", 6, item("y", (2, 5)))

    assert step(one) == [("a", 0, 10)]
    assert step(one) == [("a", 10, 4), ("b", 0, 2)]      # a still holds 12 rows, more than the cache's 10
    assert step(one) == [("a", 14, 1), ("b", 2, 4)]


def test_an_equal_item_of_another_sequence_costs_nothing():
    one = scheduler(16)
    add(one, "a", 8, item("x", (0, 6)))
    add(one, "b", 8, item("x", (1, 7)))
    one.media.budget = 6

    assert step(one) == [("a", 0, 8), ("b", 0, 8)]
    assert (one.media.cache.num_rows, one.media.cache.hits) == (6, 1)


@pytest.mark.parametrize(("unit", "span", "first"), [("items", (3, 9), 3), ("rows", (3, 9), 8), ("prompt", (3, 6), 7)])
def test_items_that_see_themselves_are_computed_in_one_step(unit, span, first):
    one = scheduler(8, unit)
    if unit == "prompt":
        add(one, "before", 2, item("y", (0, 1)))        # leaves 6 tokens, and 7 must be computed together
    add(one, "a", 7 if unit == "prompt" else 10, item("x", span))

    chunks = [part for _ in range(3) for part in step(one) if part[0] == "a"]

    assert chunks[0] == ("a", 0, first)


@pytest.mark.parametrize("unit", ["items", "prompt"])
def test_a_span_longer_than_a_step_is_refused(unit):
    with pytest.raises(RequestError, match="max_num_batched_tokens"):
        add(scheduler(8, unit), "a", 12, item("x", (0, 9)))


def test_ended_sequences_hold_nothing():
    one = scheduler(8)
    seq = add(one, "a", 12, item("x", (4, 10)))
    step(one)
    one.abort(seq.request_id)
    one.check()

    assert one.media.cache.has_room(8)


def test_the_keys_of_blocks_that_an_item_touches_differ_by_item_and_place():
    def keys(*media):
        seq = Sequence(EngineRequest(request_id="a", prompt_token_ids=tokens(12), eos_token_ids=[], arrival_time=0.0,
                                     params=SamplingParams(max_tokens=2), media=list(media)))
        return [seq.key_extras(start, start + 4) for start in (0, 4, 8)]

    first = keys(item("x" * 32, (5, 9)))
    assert first[0] == b""
    assert first[1] == first[2] != b""
    assert keys(item("y" * 32, (5, 9)))[1] != first[1] != keys(item("x" * 32, (6, 9)))[1]
