"""From prompt and parameters to engine requests: lengths, limits, seeds, children, and what the model cannot take."""

from __future__ import annotations

import pytest
from toy_engine import EOS, VOCAB_SIZE, ToyCore, make_config

from weft.errors import ConfigError, RequestError
from weft.frontend.defaults import default_sampling_params
from weft.frontend.inputs import InputProcessor
from weft.frontend.prompt_limit import PromptLimit
from weft.sampling_params import SamplingParams
from weft.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def make_inputs(toy_tokenizer):
    """make_inputs(policy=…, **fields of ModelConfig)."""
    def make(**options) -> InputProcessor:
        config = make_config(toy_tokenizer, **options)
        return InputProcessor(config, load_tokenizer(config.tokenizer), ToyCore(config).info)

    return make


@pytest.fixture
def inputs(make_inputs) -> InputProcessor:
    return make_inputs()


def prepare(inputs, prompt="abc", **params):
    return inputs.prepare("r", prompt, SamplingParams(**params))


def test_text_becomes_token_ids_and_is_kept_for_the_output(inputs):
    prepared = prepare(inputs, "hé", max_tokens=3)

    assert (prepared.prompt, prepared.prompt_token_ids) == ("hé", [104, 195, 169])
    [child] = prepared.children
    assert (child.request_id, child.prompt_token_ids, child.eos_token_ids) == ("r", [104, 195, 169], [EOS])
    assert child.params.max_tokens == 3


def test_max_tokens_none_fills_the_context(inputs):
    assert prepare(inputs, "abcd", max_tokens=None).children[0].params.max_tokens == 60


def test_max_tokens_beyond_the_context_is_cut_and_min_tokens_with_it(inputs):
    [child] = prepare(inputs, "abcd", max_tokens=1000, min_tokens=500).children

    assert (child.params.max_tokens, child.params.min_tokens) == (60, 60)


def test_answers_get_each_listed_token_id_once(inputs):
    prepared = prepare(inputs, n=2, stop_token_ids=[7, 5, 7] * 100, allowed_token_ids=[5, 6, 5])

    assert [child.params.stop_token_ids for child in prepared.children] == [[7, 5]] * 2
    assert [child.params.allowed_token_ids for child in prepared.children] == [[5, 6]] * 2


def test_max_new_tokens_of_the_generation_config_is_a_cap(make_inputs):
    inputs = make_inputs(generation_defaults={"max_new_tokens": 7})

    assert prepare(inputs, max_tokens=20).children[0].params.max_tokens == 7
    assert prepare(inputs, max_tokens=None).children[0].params.max_tokens == 7
    assert prepare(inputs, max_tokens=5).children[0].params.max_tokens == 5


def test_a_prompt_as_long_as_the_context_is_refused_with_both_numbers(inputs):
    prepare(inputs, [97] * 63)

    with pytest.raises(RequestError, match=r"prompt = 64: expected fewer tokens than max_model_len = 64"):
        prepare(inputs, [97] * 64)


def test_a_text_that_is_far_too_long_is_refused_by_its_beginning(inputs, monkeypatch):
    tokenizer, lengths = inputs.tokenizer, []
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda text, **how: lengths.append(len(text)) or encode(text, **how))

    with pytest.raises(RequestError, match=r"prompt = 'more than 2296 tokens': expected fewer tokens than max_model_l"):
        prepare(inputs, "a" * 2**20)

    assert lengths == [8 * (63 + 256)]
    assert len(prepare(inputs, "a" * 2**20, truncate_prompt_tokens=-1, max_tokens=1).prompt_token_ids) == 63


def test_a_text_of_few_tokens_is_not_refused_for_its_characters():
    limit = PromptLimit(10, "up to 10 tokens")

    limit.check_beginning("a b" + " " * 10**6, str.split)      # a tokenizer for which spaces cost nothing
    with pytest.raises(RequestError, match=r"prompt = 'more than \d+ tokens': expected up to 10 tokens\. Shorten it"):
        limit.check_beginning("a b" + " " * 8000 + "a " * 10**6, str.split)


def test_truncation_keeps_the_last_tokens(inputs):
    assert prepare(inputs, "abcdef", truncate_prompt_tokens=2).prompt_token_ids == [101, 102]
    assert prepare(inputs, "ab", truncate_prompt_tokens=5).prompt_token_ids == [97, 98]


def test_truncation_to_what_fits_leaves_room_for_the_answer(inputs):
    assert len(prepare(inputs, [97] * 100, truncate_prompt_tokens=-1, max_tokens=10).prompt_token_ids) == 54
    assert len(prepare(inputs, [97] * 100, truncate_prompt_tokens=-1, max_tokens=None).prompt_token_ids) == 63
    assert len(prepare(inputs, [97] * 100, truncate_prompt_tokens=-1, max_tokens=500).prompt_token_ids) == 1


@pytest.mark.parametrize("token_id", [-1, VOCAB_SIZE, 10**30])
def test_a_token_id_outside_the_vocabulary_is_named_with_its_place(inputs, token_id):
    with pytest.raises(RequestError, match=rf"prompt_token_ids\[3\] = {token_id}: .* 0 to 258"):
        prepare(inputs, [1, 2, 3, token_id])


def test_each_answer_is_a_child_with_its_own_seed(inputs):
    children = prepare(inputs, n=3, seed=40).children

    assert [(c.request_id, c.params.seed, c.params.n) for c in children] == [
        ("0_r", 40, 1), ("1_r", 41, 1), ("2_r", 42, 1)]


def test_seeds_of_children_wrap_around_and_never_mean_none(inputs):
    assert [c.params.seed for c in prepare(inputs, n=2, seed=2**63 - 1).children] == [2**63 - 1, 0]
    assert all(c.params.seed is not None for c in prepare(inputs, n=3, seed=-3).children)


def test_without_a_seed_each_request_gets_its_own_and_another_run_the_same_ones(make_inputs):
    def seeds(**options):
        inputs = make_inputs(**options)
        return [prepare(inputs).children[0].params.seed for _ in range(3)]

    assert len(set(seeds())) == 3
    assert seeds() == seeds()
    assert seeds(seed=1) != seeds(seed=2)


def test_prompt_logprobs_are_computed_for_the_first_answer_only(inputs):
    assert [c.params.prompt_logprobs for c in prepare(inputs, n=3, prompt_logprobs=2).children] == [2, None, None]


@pytest.mark.parametrize("field", ["logprobs", "prompt_logprobs"])
def test_logprobs_are_limited_by_the_engine(make_inputs, field):
    inputs = make_inputs(max_logprobs=5)

    prepare(inputs, **{field: 5})
    for value in (6, -1):
        with pytest.raises(RequestError, match=rf"{field} = {value}: expected at most max_logprobs = 5"):
            prepare(inputs, **{field: value})


def test_all_logprobs_are_as_many_as_the_vocabulary_has_tokens(make_inputs):
    inputs = make_inputs(max_logprobs=-1)

    assert prepare(inputs, logprobs=-1).children[0].params.logprobs == VOCAB_SIZE


@pytest.mark.parametrize("params", [
    {"stop_token_ids": [259]}, {"allowed_token_ids": [0, 300]}, {"logit_bias": {259: 1}},
])
def test_token_ids_in_parameters_must_be_in_the_vocabulary(inputs, params):
    with pytest.raises(RequestError, match=next(iter(params))):
        prepare(inputs, **params)


def test_ten_thousand_entries_are_nothing_special(inputs):
    prepared = prepare(inputs, stop_token_ids=[i % 200 for i in range(10_000)], stop=["x" * 50] * 10_000)

    assert len(prepared.params.stop) == 10_000


def test_bad_words_are_banned_as_they_are_and_after_a_space(inputs):
    [child] = prepare(inputs, bad_words=["no"]).children

    assert child.bad_words_token_ids == [[110, 111], [32, 110, 111]]


def test_bad_words_of_too_many_tokens_are_refused(inputs):
    with pytest.raises(RequestError, match=r"bad_words = 2001: expected at most 1024 tokens"):
        prepare(inputs, bad_words=["x" * 1000])


@pytest.mark.parametrize("priority", [1, -1])
def test_priorities_need_the_priority_policy(make_inputs, priority):
    params = SamplingParams()

    assert make_inputs(policy="priority").prepare("r", "a", params, priority=priority).children[0].priority == priority
    with pytest.raises(RequestError, match="scheduling_policy"):
        make_inputs().prepare("r", "a", params, priority=priority)


@pytest.mark.parametrize("priority", [True, 1.0, "1", None, 10**30])
def test_a_priority_is_an_integer(make_inputs, priority):
    with pytest.raises(RequestError, match="priority"):
        make_inputs(policy="priority").prepare("r", "a", SamplingParams(), priority=priority)


@pytest.mark.parametrize("request_id", ["", 5, None, "\ud800"])
def test_a_request_id_is_text(inputs, request_id):
    with pytest.raises(RequestError, match="request_id"):
        inputs.prepare(request_id, "a", SamplingParams())


def test_parameters_are_checked_again_for_what_was_assigned_later(inputs):
    params = SamplingParams()
    params.top_p = float("nan")

    with pytest.raises(RequestError, match="top_p"):
        inputs.prepare("r", "a", params)
    with pytest.raises(RequestError, match="sampling_params"):
        inputs.prepare("r", "a", {"temperature": 1})


@pytest.mark.parametrize(("prompt", "params"), [("text", {}), ([1], {"stop": "x"}), ([1], {"bad_words": ["x"]})])
def test_without_a_tokenizer_whatever_needs_one_is_refused(prompt, params):
    config = make_config(None)
    inputs = InputProcessor(config, None, ToyCore(config).info)

    assert inputs.prepare("r", [1, 2], SamplingParams()).prompt_token_ids == [1, 2]
    with pytest.raises(RequestError, match="no tokenizer"):
        inputs.prepare("r", prompt, SamplingParams(**params))


def test_the_generation_config_supplies_the_defaults(toy_tokenizer):
    config = make_config(toy_tokenizer, generation_defaults={"temperature": 0.6, "top_k": 20, "max_new_tokens": 99})

    params = default_sampling_params(config)

    assert (params.temperature, params.top_k, params.max_tokens) == (0.6, 20, 99)
    assert default_sampling_params(make_config(toy_tokenizer)) == SamplingParams()


def test_a_generation_config_out_of_range_is_a_config_error(toy_tokenizer):
    with pytest.raises(ConfigError, match=r"top_p = 7.*generation config"):
        default_sampling_params(make_config(toy_tokenizer, generation_defaults={"top_p": 7}))
