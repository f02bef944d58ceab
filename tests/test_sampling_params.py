"""SamplingParams: defaults, what is made uniform, and every rule that refuses a value, naming the field."""

from __future__ import annotations

import math

import msgspec
import pytest

from weft.errors import RequestError
from weft.reasoning_budget import ReasoningBudget
from weft.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams

NAN, INF, HUGE = math.nan, math.inf, 10**400


@pytest.mark.parametrize(("field", "value"), [
    *[("n", v) for v in (0, -1, 16385, 1.0, True, "2", None, HUGE)],
    *[(f, v) for f in ("presence_penalty", "frequency_penalty") for v in (-2.1, 2.1, NAN, INF, True, "0", None, HUGE)],
    *[("repetition_penalty", v) for v in (0, -1, NAN, INF, HUGE, True, "1")],
    *[("temperature", v) for v in (-0.1, 2.1, NAN, INF, -INF, HUGE, True, "1", None)],
    *[("top_p", v) for v in (0, 0.0, -0.1, 1.1, NAN, True, "1")],
    *[("min_p", v) for v in (-0.1, 1.1, NAN, True)],
    *[("top_k", v) for v in (-2, 1.5, NAN, True, "5", HUGE)],
    *[("seed", v) for v in (1.0, True, "1", 2**63, -(2**63) - 1)],
    *[("max_tokens", v) for v in (0, -1, 1.0, True, "5", HUGE)],
    *[("min_tokens", v) for v in (-1, 17, 1.0, True, None)],
    *[("logprobs", v) for v in (-2, 1.0, True, "5", HUGE)],
    *[("prompt_logprobs", v) for v in (-2, 1.0, True, "5")],
    *[("stream_interval", v) for v in (0, -1, 1.0, True)],
    *[("truncate_prompt_tokens", v) for v in (0, -2, 1.0, True)],
    *[("stop", v) for v in (5, {}, {"a": 1}, 0, b"x")],
    *[("output_kind", v) for v in (1, "DELTA", None)],
    *[("logit_bias", v) for v in ([], "x", {1.5: 1}, {-1: 1}, {"x": 1}, {True: 1}, {HUGE: 1})],
    *[("allowed_token_ids", v) for v in ([], 5, "ab", {1: 2})],
    *[("bad_words", v) for v in ("word", 5, ["x"] * 129)],
    *[(f, v) for f in ("ignore_eos", "include_stop_str_in_output", "detokenize", "skip_special_tokens",
                       "spaces_between_special_tokens", "skip_reading_prefix_cache") for v in (1, 0, "no")],
])
def test_a_value_out_of_range_or_of_a_wrong_type_is_refused_by_name(field, value):
    with pytest.raises(RequestError) as error:
        SamplingParams(**{field: value})

    assert error.value.field == field
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(("field", "value", "path"), [
    ("stop", ["a", ""], "stop[1]"),
    ("stop", ["\ud800"], "stop[0]"),
    ("stop", [1], "stop[0]"),
    ("stop_token_ids", [1, -1], "stop_token_ids[1]"),
    ("stop_token_ids", [True], "stop_token_ids[0]"),
    ("stop_token_ids", [2**31], "stop_token_ids[0]"),
    ("allowed_token_ids", [1, 2.0], "allowed_token_ids[1]"),
    ("bad_words", ["ok", ""], "bad_words[1]"),
    ("logit_bias", {7: NAN}, "logit_bias[7]"),
    ("logit_bias", {7: "1"}, "logit_bias[7]"),
])
def test_a_wrong_entry_of_a_list_is_named(field, value, path):
    with pytest.raises(RequestError) as error:
        SamplingParams(**{field: value})

    assert error.value.field == path


def test_an_unknown_field_is_a_type_error():
    with pytest.raises(TypeError, match="temprature"):
        SamplingParams(temprature=1.0)


def test_one_stop_string_becomes_a_list_and_none_an_empty_one():
    assert SamplingParams(stop="END").stop == ["END"]
    assert SamplingParams().stop == []
    assert SamplingParams().stop_token_ids == []


def test_values_that_mean_off_are_made_uniform():
    params = SamplingParams(seed=-1, top_k=-1)

    assert (params.seed, params.top_k) == (None, 0)


def test_a_temperature_near_zero_is_greedy_and_turns_the_filters_off():
    params = SamplingParams(temperature=1e-6, top_p=0.5, top_k=3, min_p=0.1)

    assert params.is_greedy
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.0, 1.0, 0, 0.0)


def test_a_tiny_temperature_is_raised_to_one_hundredth():
    assert SamplingParams(temperature=0.001).temperature == 0.01


def test_greedy_sampling_gives_one_answer_only():
    with pytest.raises(RequestError, match=r"n = 2: expected 1 with greedy"):
        SamplingParams(n=2, temperature=0)


def test_min_tokens_may_not_exceed_max_tokens_but_may_be_anything_without_one():
    with pytest.raises(RequestError, match=r"min_tokens = 5: expected at most max_tokens = 4"):
        SamplingParams(min_tokens=5, max_tokens=4)
    assert SamplingParams(min_tokens=500, max_tokens=None).min_tokens == 500


def test_stop_strings_need_text():
    with pytest.raises(RequestError, match="detokenize"):
        SamplingParams(stop="x", detokenize=False)


def test_logit_bias_is_clamped_and_takes_keys_as_json_writes_them():
    assert SamplingParams(logit_bias={"5": 1000, 6: -HUGE, 7: 1}).logit_bias == {5: 100.0, 6: -100.0, 7: 1.0}


def test_prompt_logprobs_compute_the_whole_prompt():
    assert SamplingParams(prompt_logprobs=0).skip_reading_prefix_cache is True
    assert SamplingParams().skip_reading_prefix_cache is None
    with pytest.raises(RequestError, match="skip_reading_prefix_cache"):
        SamplingParams(prompt_logprobs=1, skip_reading_prefix_cache=False)


@pytest.mark.parametrize(("field", "value"), [
    ("stop_token_ids", [9, 10]), ("allowed_token_ids", [10]), ("logit_bias", {10: 1.0}),
])
def test_token_ids_outside_the_vocabulary_are_found_when_it_is_known(field, value):
    params = SamplingParams(**{field: value})

    params.check_vocabulary(11)
    with pytest.raises(RequestError, match=rf"{field}.* = 10: expected token ids from 0 to 9"):
        params.check_vocabulary(10)


def test_a_clone_shares_nothing_and_sees_what_was_assigned_wrongly():
    params = SamplingParams(stop=["a"], logit_bias={1: 1.0})
    clone = params.clone()
    clone.stop.append("b")
    clone.logit_bias[2] = 1.0

    assert (params.stop, params.logit_bias) == (["a"], {1: 1.0})
    params.temperature = NAN
    with pytest.raises(RequestError, match="temperature"):
        params.clone()


def test_all_fields_survive_the_way_to_the_engine():
    params = SamplingParams(
        n=2, temperature=0.7, seed=2**63 - 1, stop=["é\0"], stop_token_ids=[3], max_tokens=None, logprobs=-1,
        logit_bias={4: -1.5}, allowed_token_ids=[4, 5], bad_words=["w"], output_kind=RequestOutputKind.DELTA)

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=SamplingParams) == params


@pytest.mark.parametrize(("field", "value"), [
    ("beam_width", 0), ("beam_width", True), ("max_tokens", 0), ("max_tokens", None), ("length_penalty", NAN),
    ("length_penalty", "1"), ("temperature", -1), ("ignore_eos", 1),
])
def test_beam_search_parameters_are_checked_too(field, value):
    with pytest.raises(RequestError) as error:
        BeamSearchParams(**({"beam_width": 2, "max_tokens": 5} | {field: value}))

    assert error.value.field == field


def test_a_clone_shares_neither_the_form_nor_the_budget_of_reasoning():
    schema, marks = {"type": "object", "properties": {"x": {}}}, [1, 2]
    form = SamplingParams(structured_outputs={"json": schema})
    budget = SamplingParams(reasoning_budget=ReasoningBudget(max_tokens=1, end_token_ids=marks, is_open=True))

    form.clone().structured_outputs.json["properties"]["y"] = {}
    budget.clone().reasoning_budget.end_token_ids.append(3)

    assert form.structured_outputs.json == schema and budget.reasoning_budget.end_token_ids == [1, 2]
