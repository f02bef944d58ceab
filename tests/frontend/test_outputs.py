"""From engine outputs to request outputs: text, stop strings, kinds of output, logprobs, joined answers, metrics."""

from __future__ import annotations

import pytest
from toy_engine import EOS, ToyCore, make_config

from weft.engine.process.messages import EngineOutput, TokenLogprobs
from weft.errors import RequestError
from weft.frontend.answers import AnswerState
from weft.frontend.inputs import InputProcessor
from weft.frontend.outputs import OutputProcessor
from weft.outputs import Logprob
from weft.sampling_params import RequestOutputKind, SamplingParams
from weft.text.tokenizer import load_tokenizer

DELTA, FINAL_ONLY = RequestOutputKind.DELTA, RequestOutputKind.FINAL_ONLY


class Requests:
    """Open requests "r", "s", … of one processor, and the engine's part played by the test."""

    def __init__(self, tokenizer_path) -> None:
        config = make_config(tokenizer_path)
        tokenizer = load_tokenizer(config.tokenizer)
        self._inputs = InputProcessor(config, tokenizer, ToyCore(config).info)
        self.processor = OutputProcessor(tokenizer)

    def add(self, request_id="r", prompt="ab", **params):
        self.processor.add(self._inputs.prepare(request_id, prompt, SamplingParams(**params)))

    def give(self, tokens="", child="r", **fields):
        """One step's output for one sequence: the request output it gives (or None), and the ids to abort."""
        ids = list(tokens.encode()) if isinstance(tokens, str) else tokens
        updates = self.processor.process([EngineOutput(request_id=child, new_token_ids=ids, **fields)])
        return next((u.output for u in updates.updates), None), updates.abort_ids


@pytest.fixture
def requests(toy_tokenizer) -> Requests:
    return Requests(toy_tokenizer)


def say(requests, *pieces, **last):
    """Give pieces one step at a time; the texts of the outputs that came."""
    texts = []
    for i, piece in enumerate(pieces):
        output, _ = requests.give(piece, **(last if i == len(pieces) - 1 else {}))
        if output is not None:
            texts.append(output.outputs[0].text)
    return texts


def test_cumulative_outputs_hold_all_so_far(requests):
    requests.add()

    first, _ = requests.give("c")
    second, _ = requests.give("d", finish_reason="length")

    assert (first.outputs[0].text, first.outputs[0].token_ids, first.finished) == ("c", [99], False)
    assert (second.outputs[0].text, second.outputs[0].token_ids, second.finished) == ("cd", [99, 100], True)
    assert second.outputs[0].finish_reason == "length"
    assert first.outputs[0].token_ids == [99]      # what was given does not change afterwards
    assert "r" not in requests.processor


def test_deltas_hold_what_is_new(requests):
    requests.add(output_kind=DELTA)

    assert say(requests, "c", "d", "e", finish_reason="length") == ["c", "d", "e"]


def test_final_only_says_nothing_before_the_end(requests):
    requests.add(output_kind=FINAL_ONLY)

    assert say(requests, "c", "d", "e", finish_reason="length") == ["cde"]


def test_a_character_of_several_tokens_is_never_shown_in_halves(requests):
    requests.add(output_kind=DELTA)

    assert say(requests, [0xE2], [0x82], [0xAC], "!", finish_reason="length") == ["", "", "€", "!"]


def test_a_half_character_at_the_end_is_a_replacement_character(requests):
    requests.add()

    output, _ = requests.give([0x61, 0xE2, 0x82], finish_reason="length")

    assert output.outputs[0].text == "a\ufffd"


def test_a_stop_string_over_several_tokens_cuts_the_text_and_aborts_the_sequence(requests):
    requests.add(stop=["END"], output_kind=DELTA)

    outputs = [requests.give(token) for token in ("x", "E", "N", "D")]

    assert [o.outputs[0].text for o, _ in outputs] == ["", "", "x", ""]
    last, abort_ids = outputs[-1]
    assert (last.finished, last.outputs[0].finish_reason, last.outputs[0].stop_reason) == (True, "stop", "END")
    assert abort_ids == ["r"]
    assert requests.give("more") == (None, [])      # the engine may be a step ahead


def test_while_streaming_only_what_may_begin_a_stop_string_is_held_back(requests):
    requests.add(stop=["END"], output_kind=DELTA)

    assert say(requests, "abc", "def", "EN", finish_reason="length") == ["a", "bcd", "efEN"]


def test_with_include_stop_str_the_stop_string_is_shown(requests):
    requests.add(stop=["END"], include_stop_str_in_output=True)

    output, _ = requests.give("xENDyz")

    assert output.outputs[0].text == "xEND"
    assert output.outputs[0].token_ids == list(b"xEND")


def test_token_ids_and_logprobs_end_with_the_token_that_completed_the_stop_string(requests):
    requests.add(stop=["c"], logprobs=0)

    output, abort_ids = requests.give("bcd", logprobs=[TokenLogprobs([i], [-1.0], [1]) for i in b"bcd"])

    [answer] = output.outputs
    assert (answer.text, answer.token_ids, abort_ids) == ("b", [98, 99], ["r"])
    assert answer.cumulative_logprob == -2.0
    assert [list(entry) for entry in answer.logprobs] == [[98], [99]]


def test_a_stop_string_in_the_engines_last_step_wins_over_the_length_and_aborts_nothing(requests):
    requests.add(stop=["c"])

    output, abort_ids = requests.give("bc", finish_reason="length")

    assert (output.outputs[0].finish_reason, output.outputs[0].stop_reason, abort_ids) == ("stop", "c", [])


def test_stop_strings_count_only_after_min_tokens(requests):
    requests.add(stop=["c"], min_tokens=3)

    output, abort_ids = requests.give("ccc")
    assert (output.outputs[0].text, abort_ids) == ("ccc", [])
    output, abort_ids = requests.give("dc")
    assert (output.outputs[0].text, abort_ids) == ("cccd", ["r"])


@pytest.mark.parametrize(("params", "token", "stop_reason", "text"), [
    ({}, EOS, None, "x"),
    ({"skip_special_tokens": False}, EOS, None, "x"),
    ({"skip_special_tokens": False, "include_stop_str_in_output": True}, EOS, None, "x<|end|>"),
    ({"stop_token_ids": [65]}, 65, 65, "x"),
    ({"stop_token_ids": [65], "include_stop_str_in_output": True}, 65, 65, "xA"),
])
def test_the_token_that_ended_it_is_in_the_ids_and_only_when_asked_in_the_text(
    requests, params, token, stop_reason, text
):
    requests.add(**params)

    output, _ = requests.give([120, token], finish_reason="stop", stop_reason=stop_reason)

    [answer] = output.outputs
    assert (answer.text, answer.token_ids, answer.stop_reason) == (text, [120, token], stop_reason)


def test_without_detokenizing_there_is_no_text(requests):
    requests.add(detokenize=False, logprobs=0)

    output, _ = requests.give("c", logprobs=[TokenLogprobs([99], [-1.0], [1])], finish_reason="length")

    assert output.outputs[0].text == ""
    assert output.outputs[0].logprobs == [{99: Logprob(-1.0, 1, None)}]


def test_logprobs_keep_the_engines_order_and_have_texts(requests):
    requests.add(logprobs=2)

    output, _ = requests.give("z", logprobs=[TokenLogprobs([122, 97, 98], [-9.0, -0.5, -1.0], [40, 1, 2])])

    [entry] = output.outputs[0].logprobs
    assert list(entry.items()) == [
        (122, Logprob(-9.0, 40, "z")), (97, Logprob(-0.5, 1, "a")), (98, Logprob(-1.0, 2, "b"))]


def test_prompt_logprobs_come_in_pieces_and_begin_with_none(requests):
    requests.add(prompt="abc", prompt_logprobs=0)

    nothing, _ = requests.give(prompt_logprobs=[TokenLogprobs([98], [-1.0], [1])])
    output, _ = requests.give("d", prompt_logprobs=[TokenLogprobs([99], [-2.0], [3])])

    assert nothing is None
    assert output.prompt_logprobs == [None, {98: Logprob(-1.0, 1, "b")}, {99: Logprob(-2.0, 3, "c")}]


def test_a_delta_stream_says_prompt_logprobs_once(requests):
    requests.add(prompt="abc", prompt_logprobs=0, output_kind=DELTA)

    first, _ = requests.give("d", prompt_logprobs=[TokenLogprobs([98], [-1.0], [1]), TokenLogprobs([99], [-2.0], [3])])
    second, _ = requests.give("e", finish_reason="length")

    assert len(first.prompt_logprobs) == 3
    assert second.prompt_logprobs is None


def test_a_stream_interval_sends_the_first_token_every_nth_and_the_end(requests):
    requests.add(output_kind=DELTA, stream_interval=3)

    assert say(requests, "a", "b", "c", "d", "e", finish_reason="length") == ["a", "bcd", "e"]


def test_answers_of_one_request_are_joined_in_their_order(requests):
    requests.add(n=2, output_kind=FINAL_ONLY)

    early, _ = requests.give("late", child="1_r", finish_reason="length")
    output, _ = requests.give("first", child="0_r", finish_reason="stop")

    assert early is None
    assert [(a.index, a.text, a.finish_reason) for a in output.outputs] == [(0, "firs", "stop"), (1, "late", "length")]


def test_deltas_of_several_answers_name_only_those_with_news(requests):
    requests.add(n=2, output_kind=DELTA)

    output, _ = requests.give("x", child="1_r")

    assert [(a.index, a.text) for a in output.outputs] == [(1, "x")]
    assert not output.finished


def test_an_end_without_tokens_is_sent(requests):
    requests.add(output_kind=DELTA)
    requests.give("x")

    output, _ = requests.give(finish_reason="error", error="RuntimeError: fault")

    assert (output.finished, output.error, output.outputs[0].finish_reason) == (True, "RuntimeError: fault", "error")


def test_aborting_shows_what_was_held_back(requests):
    requests.add(stop=["END"], output_kind=DELTA)
    requests.give("xE")

    updates = requests.processor.end(["r", "unknown"])

    [answer] = updates.updates[0].output.outputs
    assert (answer.text, answer.finish_reason, updates.abort_ids) == ("xE", "abort", ["r"])
    assert requests.processor.request_ids == []


def test_aborting_one_of_several_answers_that_still_runs(requests):
    requests.add(n=2)
    requests.give("x", child="0_r", finish_reason="length")

    updates = requests.processor.end(["r"])

    assert updates.abort_ids == ["1_r"]
    assert [a.finish_reason for a in updates.updates[0].output.outputs] == ["length", "abort"]


def test_an_id_in_use_is_refused_also_when_only_an_answer_has_it(requests):
    requests.add("r", n=2)

    for request_id in ("r", "1_r"):
        with pytest.raises(RequestError, match="request_id"):
            requests.add(request_id)
    requests.add("s")


def test_the_moments_of_a_request_are_in_order(requests):
    requests.add(prompt="abc")

    requests.give("d", first_scheduled_time=5.0, num_cached_tokens=2, num_preemptions=1)
    output, _ = requests.give("e", finish_reason="length", first_scheduled_time=5.0, num_cached_tokens=2)

    metrics = output.metrics
    assert metrics.arrival_time <= metrics.first_token_time <= metrics.last_token_time == metrics.finished_time
    assert (metrics.first_scheduled_time, metrics.num_preemptions, output.num_cached_tokens) == (5.0, 1, 2)
    assert (output.prompt, output.prompt_token_ids) == ("abc", [97, 98, 99])


def test_preemptions_of_all_answers_are_counted_once_each(requests):
    requests.add(n=2)

    for child, count in (("0_r", 1), ("1_r", 2), ("0_r", 1), ("0_r", 3)):
        output, _ = requests.give("x", child=child, num_preemptions=count)

    assert output.metrics.num_preemptions == 5


def test_a_step_costs_no_look_at_the_answers_that_it_does_not_touch(requests, monkeypatch):
    looks = 0

    def counted(answer):
        nonlocal looks
        looks += 1
        return 0

    requests.add(n=500, output_kind=FINAL_ONLY)
    monkeypatch.setattr(AnswerState, "num_preemptions", property(counted, lambda answer, value: None), raising=False)
    requests.give("x", child="7_r")

    assert looks < 10


def test_outputs_of_unknown_sequences_are_dropped(requests):
    assert requests.give("x", child="gone") == (None, [])
