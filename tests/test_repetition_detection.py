"""An answer that says the same again and again is ended: which tokens count as a repetition, and what its end is."""

from __future__ import annotations

import msgspec
import pytest

from weft.engine.process.messages import EngineRequest
from weft.engine.sequence import Sequence
from weft.errors import RequestError
from weft.repetition_detection import RepetitionDetectionParams
from weft.sampling_params import SamplingParams


@pytest.mark.parametrize(("text", "sizes", "count", "found"), [
    ("xababab", (1, 2), 3, True), ("xababab", (1, 2), 4, False), ("xababab", (1, 1), 2, False),
    ("xaaaa", (2, 2), 2, True), ("xaaaa", (3, 4), 2, False), ("abab", (1, 8), 2, True), ("abcabd", (1, 8), 2, False),
    ("aab", (1, 8), 2, False), ("a", (1, 8), 2, False)])
def test_the_last_tokens_are_one_pattern_several_times(text, sizes, count, found):
    params = RepetitionDetectionParams(min_pattern_size=sizes[0], max_pattern_size=sizes[1], min_count=count)

    assert params.found_in(text.encode(), 0) is found


def test_the_prompt_does_not_count():
    params = RepetitionDetectionParams(max_pattern_size=2, min_count=2)

    assert params.found_in(b"ababab", 2) and not params.found_in(b"ababab", 3)


def sequence(**params) -> Sequence:
    return Sequence(EngineRequest(request_id="r", prompt_token_ids=[7, 7], eos_token_ids=[], arrival_time=0.0,
                                  params=SamplingParams(max_tokens=50, **params)))


def test_a_sequence_ends_with_a_reason_of_its_own_and_not_before_min_tokens():
    wanted = {"max_pattern_size": 3, "min_count": 2}

    seq = sequence(repetition_detection=wanted)
    assert [seq.append(token) for token in (7, 7)] == [False, True]
    assert (seq.finish_reason, seq.stop_reason) == ("repetition", "repetition_detected")

    seq = sequence(repetition_detection=wanted, min_tokens=4)
    assert [seq.append(7) for _ in range(4)] == [False, False, False, True]


def test_without_a_pattern_size_it_is_off():
    assert SamplingParams(repetition_detection={"max_pattern_size": 0}).repetition_detection is None


def test_the_parameters_cross_to_the_engine():
    params = SamplingParams(repetition_detection=RepetitionDetectionParams(max_pattern_size=3, min_count=2))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params.clone()), type=SamplingParams) == params


@pytest.mark.parametrize(("value", "field"), [
    ({"max_pattern_size": 3}, "min_count"), ({"max_pattern_size": 3, "min_count": 1}, "min_count"),
    ({"max_pattern_size": 5000, "min_count": 2}, "max_pattern_size"),
    ({"max_pattern_size": 3, "min_pattern_size": 4, "min_count": 2}, "min_pattern_size"),
    ({"max_size": 3}, "max_size")])
def test_a_wrong_field_is_named(value, field):
    with pytest.raises(RequestError, match=rf"^repetition_detection\.{field} = "):
        SamplingParams(repetition_detection=value)
