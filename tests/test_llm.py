"""LLM on the toy engine: prompts, parameters, order, chat, beams, what is refused, and how it closes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toy_engine import BROKEN_CORE, CORE, EMBEDS_SIZE, EOS, POOLING_CORE, make_config

from weft.async_llm import AsyncLLM
from weft.errors import ConfigError, EngineDeadError, NotBuiltError, QueueFullError, RequestError
from weft.llm import LLM
from weft.outputs import RequestOutput
from weft.pooling_params import PoolingParams
from weft.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=3)


@pytest.fixture
def llm(toy_tokenizer):
    with LLM.from_config(make_config(toy_tokenizer), CORE) as llm:
        yield llm


def generate(llm, prompts, params=GREEDY, **options):
    return llm.generate(prompts, params, use_tqdm=False, **options)


def texts(outputs):
    return [output.outputs[0].text for output in outputs]


@pytest.mark.parametrize("prompt", ["abc", [97, 98, 99], {"prompt": "abc"}, {"prompt_token_ids": [97, 98, 99]}])
def test_one_prompt_of_any_form_gives_one_output(llm, prompt):
    [output] = generate(llm, prompt)

    assert output.finished
    assert output.prompt_token_ids == [97, 98, 99]
    assert output.outputs[0].text == "def"
    assert output.outputs[0].finish_reason == "length"


def test_token_ids_may_come_under_vllms_older_name(llm):
    given = llm.generate(prompt_token_ids=[[5, 6], [7]], sampling_params=GREEDY, use_tqdm=False)

    assert [output.prompt_token_ids for output in given] == [[5, 6], [7]]
    with pytest.raises(RequestError, match="prompt_token_ids"):
        llm.generate("a", prompt_token_ids=[1])


def test_outputs_keep_the_order_of_mixed_prompts_whenever_they_finish(llm):
    params = [SamplingParams(temperature=0.0, max_tokens=n) for n in (9, 1, 4)]

    outputs = generate(llm, ["a", [107], {"prompt": "w"}], params)

    assert texts(outputs) == ["bcdefghij", "l", "xyz"]
    assert [o.outputs[0].finish_reason for o in outputs] == ["length", "length", "stop"]


def test_no_prompts_give_no_outputs(llm):
    assert generate(llm, []) == []


def test_several_answers_come_with_their_indices_and_the_same_seed_gives_the_same(llm):
    params = SamplingParams(n=3, seed=5, max_tokens=8)

    [output] = generate(llm, "a", params)

    assert [answer.index for answer in output.outputs] == [0, 1, 2]
    assert len({answer.text for answer in output.outputs}) == 3
    assert [a.text for a in generate(llm, "a", params)[0].outputs] == [a.text for a in output.outputs]
    assert generate(llm, "a", SamplingParams(seed=6, max_tokens=8))[0].outputs[0].text == output.outputs[1].text


def test_without_parameters_the_generation_config_counts(toy_tokenizer):
    config = make_config(toy_tokenizer, generation_defaults={"temperature": 0.0, "max_new_tokens": 4})
    with LLM.from_config(config, CORE) as llm:
        assert texts(llm.generate("a", use_tqdm=False)) == ["bcde"]
        assert llm.get_default_sampling_params().max_tokens == 4


def test_the_users_parameters_are_not_touched(llm):
    params = SamplingParams(temperature=0.0, output_kind=RequestOutputKind.DELTA)

    generate(llm, "a", params)

    assert params == SamplingParams(temperature=0.0, output_kind=RequestOutputKind.DELTA)


@pytest.mark.parametrize(("options", "field"), [
    ({"params": [GREEDY]}, "sampling_params"),
    ({"priority": [0, 0, 0]}, "priority"),
    ({"priority": 1}, "priority"),
    ({"tokenization_kwargs": {"padding": True}}, "tokenization_kwargs.padding"),
])
def test_options_that_do_not_fit_the_prompts_are_refused(llm, options, field):
    with pytest.raises(RequestError) as error:
        generate(llm, ["a", "b"], **options)

    assert error.value.field == field


@pytest.mark.parametrize(("name", "value", "message"), [
    ("reasoning_parser", "qwen33", "Did you mean qwen3"), ("chat_template", "{% for x in %}", "Line 1: Expected")])
def test_a_name_and_a_template_are_refused_before_the_model_is_loaded(toy_tokenizer, name, value, message):
    config = make_config(toy_tokenizer)
    part = "tokenizer" if name == "chat_template" else "model"
    config = replace(config, **{part: replace(getattr(config, part), **{name: value})})

    for start in (lambda: LLM.from_config(config, BROKEN_CORE), lambda: AsyncLLM(config)):
        with pytest.raises(ConfigError, match=f"{name} = .*{message}"):
            start()


def test_one_wrong_prompt_refuses_the_call_and_leaves_the_engine_free(llm):
    with pytest.raises(RequestError, match=r"prompt_token_ids\[1\] = -5"):
        generate(llm, ["a", [1, -5]])

    assert texts(generate(llm, "a")) == ["bcd"]


def test_a_prompt_that_the_engine_refuses_aborts_the_others_of_the_call(llm):
    with pytest.raises(RequestError, match="something else"):
        generate(llm, ["a", "%"])

    assert llm.reset_prefix_cache()      # nothing runs
    assert texts(generate(llm, "a")) == ["bcd"]


def test_a_prompt_that_fails_in_the_engine_has_an_error_and_the_others_go_on(llm):
    bad, good = generate(llm, ["a!", "a"])

    assert (bad.outputs[0].finish_reason, bad.error) == ("error", "RuntimeError: a fault")
    assert bad.outputs[0].text == "ab"
    assert good.outputs[0].text == "bcd"


def test_a_queue_that_is_full_with_nothing_running_is_an_error(llm):
    with pytest.raises(QueueFullError):
        generate(llm, "^")


def test_an_interrupt_aborts_what_is_open(llm):
    class Bar:
        def __init__(self, **_):
            pass

        def set_postfix_str(self, *_, **__):
            raise KeyboardInterrupt

        def close(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        llm.generate(["a", "b"], [GREEDY, SamplingParams(max_tokens=50)], use_tqdm=Bar)

    assert llm.reset_prefix_cache()
    assert texts(generate(llm, "a")) == ["bcd"]


def test_the_progress_bar_is_on_by_default_and_shows_tokens_per_second(llm, capsys):
    llm.generate(["a", "b"], GREEDY)
    shown = capsys.readouterr().err

    assert "2/2" in shown
    assert "tok/s" in shown
    generate(llm, "a")
    assert capsys.readouterr().err == ""


def test_tokenization_kwargs_truncate_the_prompt(llm):
    [output] = generate(llm, "abcdef", tokenization_kwargs={"truncate_prompt_tokens": 2})

    assert output.prompt_token_ids == [101, 102]


def test_chat_renders_the_template_and_takes_one_conversation_or_several(llm):
    conversation = [{"role": "user", "content": "hi"}]

    [one] = llm.chat(conversation, GREEDY, use_tqdm=False)
    several = llm.chat([conversation, conversation], GREEDY, use_tqdm=False)

    assert one.prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert one.prompt_token_ids[:3] == [257, 117, 115]
    assert [o.prompt for o in several] == [one.prompt] * 2


@pytest.mark.parametrize("messages", [[], "hi", None, [5], [[]]])
def test_what_is_no_conversation_is_refused(llm, messages):
    with pytest.raises(RequestError, match="messages"):
        llm.chat(messages, GREEDY, use_tqdm=False)


def test_what_is_enqueued_runs_when_it_is_waited_for(llm):
    first = llm.enqueue("a", GREEDY)
    second = llm.enqueue(["k", "w"], GREEDY)
    between = generate(llm, "f")

    outputs = llm.wait_for_completion(RequestOutput, use_tqdm=False)

    assert texts(between) == ["ghi"]
    assert texts(outputs) == ["bcd", "lmn", "xyz"]
    assert [o.request_id for o in outputs] == first + second
    assert llm.wait_for_completion(use_tqdm=False) == []


def test_enqueued_conversations_get_the_answers_of_chat(llm):
    conversations = [[{"role": "user", "content": text}] for text in ("hi", "ho")]
    options = {"add_generation_prompt": False}
    wanted = llm.chat(conversations, GREEDY, use_tqdm=False, **options)

    ids = llm.enqueue_chat(conversations, GREEDY, **options)
    outputs = llm.wait_for_completion(use_tqdm=False)

    assert [o.request_id for o in outputs] == ids
    assert [(o.prompt, o.outputs[0].text) for o in outputs] == [(o.prompt, o.outputs[0].text) for o in wanted]


def test_beam_search_gives_the_best_sequences_with_their_texts(llm):
    enqueued = llm.enqueue("a", GREEDY)
    [first, _] = llm.beam_search(["abc", [97, 98]], BeamSearchParams(beam_width=2, max_tokens=2), concurrency_limit=1)

    assert [(s.text, s.cum_logprob) for s in first.sequences] == [("abcde", -1.0), ("abcdf", -1.5)]
    assert [o.request_id for o in llm.wait_for_completion(use_tqdm=False)] == enqueued


def test_beam_search_ends_at_the_context_and_at_eos(llm):
    [full] = llm.beam_search([[97] * 62], BeamSearchParams(beam_width=1, max_tokens=50))
    [ended] = llm.beam_search(["xy"], BeamSearchParams(beam_width=1, max_tokens=5, include_stop_str_in_output=True))

    assert len(full.sequences[0].tokens) == 64
    assert ended.sequences[0].tokens == [*b"xyz", EOS]
    with pytest.raises(RequestError, match="max_model_len"):
        llm.beam_search([[97] * 64], BeamSearchParams(beam_width=1, max_tokens=1))


def test_the_engine_is_within_reach(llm):
    assert llm.collective_rpc("ping", args=(1,), kwargs={"k": 2}) == [["ping", [1], {"k": 2}]]
    assert llm.apply_model(str.upper) == ["THE TOY MODEL"]
    assert llm.get_tokenizer().decode([97, 98]) == "ab"
    assert llm.reset_prefix_cache() is True


@pytest.mark.parametrize("method, texts", [
    ("encode", ["text"]), ("embed", ["text"]), ("classify", ["text"]), ("score", ["text", "other"])])
def test_a_model_that_generates_does_not_pool_and_says_what_it_is_for(llm, method, texts):
    with pytest.raises(RequestError, match=r"model's tasks: generate\."):
        getattr(llm, method)(*texts, use_tqdm=False)


@pytest.fixture
def pooling_llm(toy_tokenizer):
    with LLM.from_config(make_config(toy_tokenizer), POOLING_CORE) as llm:
        yield llm


@pytest.mark.parametrize("call", [
    lambda llm: llm.generate("a"),
    lambda llm: llm.chat([{"role": "user", "content": "a"}]),
    lambda llm: llm.enqueue("a"),
    lambda llm: llm.beam_search("a", BeamSearchParams(beam_width=2, max_tokens=2)),
])
def test_a_model_that_pools_does_not_generate_and_says_what_it_is_for(pooling_llm, call):
    with pytest.raises(RequestError, match="task = 'generate': expected one of the model's tasks: embed, token_embed"):
        call(pooling_llm)


def test_encode_gives_each_tokens_state_in_order(pooling_llm):
    outputs = pooling_llm.encode(["ab", [99]], use_tqdm=False)

    assert [output.outputs.data.tolist() for output in outputs] == [[[97, 0], [98, 1]], [[99, 0]]]
    assert [output.prompt_token_ids for output in outputs] == [[97, 98], [99]]
    assert all(output.finished and output.error is None for output in outputs)


def test_embed_gives_numbers_and_encode_the_same_as_a_tensor(pooling_llm):
    [output] = pooling_llm.embed("abc", use_tqdm=False)
    [tensor] = pooling_llm.encode("abc", pooling_task="embed", use_tqdm=False)

    assert (output.outputs.embedding, output.outputs.hidden_size) == ([294.0, 3.0], 2)
    assert tensor.outputs.data.tolist() == [294, 3]


def test_pooling_parameters_may_name_the_task_one_for_each_prompt(pooling_llm):
    params = [PoolingParams(task="embed"), PoolingParams()]

    outputs = pooling_llm.encode(["ab", "ab"], params, use_tqdm=False)

    assert [output.outputs.data.dim() for output in outputs] == [1, 2]
    assert params[1].task is None                                       # the user's own are untouched


@pytest.mark.parametrize(("options", "reason"), [
    ({"pooling_params": PoolingParams(task="token_embed")}, "task = 'token_embed': expected embed"),
    ({"pooling_params": SamplingParams()}, "pooling_params"),
    ({"pooling_params": [PoolingParams()] * 2}, "pooling_params"),
    ({"tokenization_kwargs": {"truncate_prompt_tokens": 65}}, "truncate_prompt_tokens = 65: expected up to max_model"),
    ({"tokenization_kwargs": {"truncate_prompt_tokens": 0}}, "truncate_prompt_tokens = 0: expected an integer of"),
    ({"tokenization_kwargs": {"truncation_side": "up"}}, "truncation_side = 'up': expected left or right"),
    ({"tokenization_kwargs": {"padding": True}}, "tokenization_kwargs.padding"),
])
def test_wrong_pooling_arguments_are_named(pooling_llm, options, reason):
    with pytest.raises(RequestError, match=reason):
        pooling_llm.embed("a", use_tqdm=False, **options)


@pytest.mark.parametrize(("options", "first"), [
    ({"truncate_prompt_tokens": 3}, "abc"), ({"truncate_prompt_tokens": 2, "truncation_side": "left"}, "ef"),
    ({"truncate_prompt_tokens": -1}, "abcdef")])
def test_a_text_to_pool_is_cut_at_its_end_or_at_its_beginning(pooling_llm, options, first):
    [output] = pooling_llm.encode("abcdef", tokenization_kwargs=options, use_tqdm=False)

    assert bytes(output.prompt_token_ids).decode() == first


def test_a_prompt_to_pool_may_fill_the_context_and_no_more(pooling_llm):
    assert pooling_llm.encode([[97] * 64], use_tqdm=False)[0].outputs.data.shape == (64, 2)
    with pytest.raises(RequestError, match="prompt = 65: expected up to max_model_len = 64 tokens"):
        pooling_llm.encode([[97], [97] * 65], use_tqdm=False)


def test_a_prompt_that_fails_in_the_engine_leaves_the_others_alone(pooling_llm):
    good, bad = pooling_llm.embed(["ab", "a!"], use_tqdm=False)

    assert good.outputs.embedding == [195, 1]
    assert (bad.outputs, bad.error) == (None, "RuntimeError: a fault")


def rows(text: str) -> torch.Tensor:
    """The toy's embeddings of a text."""
    return torch.tensor([[float(byte), 0.0] for byte in text.encode()])


def test_a_prompt_of_embeddings_is_answered_as_its_ids_are(toy_tokenizer):
    with LLM.from_config(make_config(toy_tokenizer, enable_prompt_embeds=True), CORE) as llm:
        outputs = generate(llm, [{"prompt_embeds": rows("abc")}, "abc", {"prompt_embeds": rows("xy"), "prompt": "xy"}])

    assert texts(outputs) == ["def", "def", "z"]
    assert [o.prompt for o in outputs] == [None, "abc", "xy"]
    assert [(o.prompt_token_ids, o.num_prompt_embeds, o.num_prompt_tokens) for o in outputs] == [
        ([], 3, 3), ([97, 98, 99], 0, 3), ([], 2, 2)]


@pytest.mark.parametrize("wrong", [torch.zeros(2, EMBEDS_SIZE + 1), torch.full((1, EMBEDS_SIZE), float("nan")), "AAAA"])
def test_wrong_embeddings_are_named_before_anything_runs(toy_tokenizer, wrong):
    with LLM.from_config(make_config(toy_tokenizer, enable_prompt_embeds=True), CORE) as llm:
        with pytest.raises(RequestError, match="prompt_embeds"):
            generate(llm, ["abc", {"prompt_embeds": wrong}])
        assert llm.stats.num_steps == 0
        with pytest.raises(RequestError, match="prompt_embeds"):
            llm.beam_search({"prompt_embeds": rows("abc")}, BeamSearchParams(beam_width=2, max_tokens=2))


@pytest.mark.parametrize("call", [
    lambda llm: llm.generate("a", lora_request=object()),
    lambda llm: llm.chat([{"role": "user", "content": "a"}], mm_processor_kwargs={"a": 1}),
    lambda llm: llm.reset_prefix_cache(reset_running_requests=True),
    lambda llm: llm.wait_for_completion(int),
])
def test_arguments_without_code_are_refused(llm, call):
    with pytest.raises(NotBuiltError):
        call(llm)


def test_a_closed_llm_says_so(toy_tokenizer):
    with LLM.from_config(make_config(toy_tokenizer), CORE) as llm:
        pass
    llm.close()

    with pytest.raises(EngineDeadError, match="closed"):
        generate(llm, "a")


def test_without_a_tokenizer_ids_go_in_and_come_out():
    with LLM.from_config(make_config(None), CORE) as llm:
        [output] = generate(llm, [97])

        assert (output.outputs[0].token_ids, output.outputs[0].text) == ([98, 99, 100], "")
        with pytest.raises(RequestError):
            llm.chat([{"role": "user", "content": "a"}])
        with pytest.raises(RequestError):
            llm.get_tokenizer()


@pytest.mark.parametrize("options", [{"temprature": 1}, {"max_model_length": 5}])
def test_an_unknown_option_is_a_type_error(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        LLM("nowhere", **options)
