"""Answers follow the form that their request wants, in whatever company, and however their engine gets to them."""

from __future__ import annotations

import json
import re

import pytest
from isa_levels import native_levels
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams
from weft.errors import ConfigError, NotBuiltError, RequestError
from weft.reasoning_budget import ReasoningBudget
from weft.sampling_params import StructuredOutputsParams

PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8},
                                           "age": {"type": "integer", "minimum": 0, "maximum": 120}},
          "required": ["name", "age"], "additionalProperties": False}
TIGHT = {"json": PERSON, "disable_any_whitespace": True}
FORMS = {
    "json": TIGHT, "json_object": {"json_object": True, "disable_any_whitespace": True},
    "regex": {"regex": r"\d{3}-[a-f]{2,8}"}, "choice": {"choice": ["yes", "no", "maybe"]},
    "grammar": {"grammar": 'root ::= ("a" b)+ "."\nb ::= [0-9] | "x"'},
    "structural_tag": {"structural_tag": {"format": {"type": "tag", "begin": "<a>", "end": "</a>", "content": {
        "type": "json_schema", "json_schema": PERSON}}}, "disable_any_whitespace": True},
}
EOS = 258


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def llm(directory):
    with engine(directory) as made:
        yield made


def engine(directory, **options):
    return LLM(model=str(directory), **({"max_model_len": 256, "max_num_seqs": 8, "num_threads": 1,
                                         "use_tqdm_on_load": False} | options))


def sampled(form, **fields):
    return SamplingParams(**({"temperature": 1.0, "seed": 7, "max_tokens": 100, "structured_outputs": form} | fields))


def answer(llm, form, **fields):
    [output] = llm.generate("Once", sampled(form, **fields), use_tqdm=False)
    return output.outputs[0]


def follows(kind: str, text: str) -> bool:
    if kind == "structural_tag":
        return text.startswith("<a>") and text.endswith("</a>") and follows("json", text[3:-4])
    if kind in ("json", "json_object"):
        found = json.loads(text)
        return isinstance(found, dict) and (kind == "json_object" or (
            set(found) == {"name", "age"} and len(found["name"]) <= 8 and 0 <= found["age"] <= 120))
    pattern = {"regex": r"\d{3}-[a-f]{2,8}", "choice": "yes|no|maybe", "grammar": r"(a[0-9x])+\."}[kind]
    return re.fullmatch(pattern, text) is not None


# What makes an answer of a form that need not end do so: {character: bias}.
ENDING = {"json_object": {"}": 4, '"': 4, ",": -4}, "grammar": {".": 4}}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", FORMS)
def test_an_answer_follows_its_form_and_ends(llm, kind, temperature):
    vocabulary = llm.get_tokenizer().get_vocab()
    bias = {vocabulary[char]: value for char, value in ENDING.get(kind, {}).items()}

    for seed in (1, 2, 3) if temperature else (1,):
        found = answer(llm, FORMS[kind], temperature=temperature, seed=seed, logit_bias=bias or None)
        assert found.finish_reason == "stop" and follows(kind, found.text), found.text


def test_the_end_of_text_ends_the_answer_and_is_its_last_token(llm):
    found = answer(llm, FORMS["choice"])

    assert found.text in ("yes", "no", "maybe")
    assert found.token_ids[-1] == EOS and (found.finish_reason, found.stop_reason) == ("stop", None)


def test_several_answers_follow_the_form_each_with_its_own_draws(llm):
    [output] = llm.generate("Once", sampled(FORMS["regex"], n=4), use_tqdm=False)

    assert all(follows("regex", found.text) for found in output.outputs)
    assert len({found.text for found in output.outputs}) > 1


def test_requests_with_and_without_a_form_share_a_batch_and_do_not_touch_each_other(llm):
    params = [sampled(FORMS["regex"], logprobs=2), SamplingParams(temperature=0, max_tokens=20, logprobs=2),
              sampled(TIGHT, seed=3), SamplingParams(seed=5, max_tokens=20)]
    together = llm.generate(["Once", "upon", "a", "time"], params, use_tqdm=False)
    alone = [llm.generate(prompt, one, use_tqdm=False)[0]
             for prompt, one in zip(["Once", "upon", "a", "time"], params, strict=True)]

    assert [o.outputs[0].token_ids for o in together] == [o.outputs[0].token_ids for o in alone]


def test_reported_log_probabilities_are_the_models_own(llm):
    [free] = llm.generate("Once", SamplingParams(temperature=0, max_tokens=1, logprobs=20), use_tqdm=False)
    wanted = free.outputs[0].logprobs[0]
    likely = [llm.get_tokenizer().convert_ids_to_tokens(token_id) for token_id in wanted]
    found = answer(llm, {"choice": [token for token in likely if token.isascii() and token.isalnum()]}, logprobs=20)

    assert found.logprobs[0] == wanted and found.token_ids[0] in wanted


def test_with_ignore_eos_an_answer_ends_where_its_form_leaves_nothing_to_say(llm):
    found = answer(llm, {"regex": "ab{2,5}"}, ignore_eos=True)

    assert found.text == "abbbbb" and EOS not in found.token_ids
    assert (found.finish_reason, found.stop_reason) == ("stop", None)


@pytest.mark.parametrize("form", [TIGHT, FORMS["structural_tag"], {"regex": "abc[0-9]defghi(x|y)jklm"}])
def test_tokens_that_a_form_leaves_no_choice_about_take_no_step_and_change_no_answer(llm, form):
    before = llm.stats.num_steps
    fast = answer(llm, form)
    between = llm.stats.num_steps
    slow = answer(llm, form, logprobs=0)      # each token's log-probability needs a step

    assert (fast.token_ids, fast.text, fast.finish_reason) == (slow.token_ids, slow.text, slow.finish_reason)
    assert between - before < llm.stats.num_steps - between == len(slow.token_ids)


def test_forced_tokens_end_where_max_tokens_or_a_stop_string_end_the_answer(llm):
    form = {"regex": "[ab]cdefghijklmnop"}

    for max_tokens in (2, 5, 15):
        found = answer(llm, form, max_tokens=max_tokens)
        assert (len(found.token_ids), found.finish_reason) == (max_tokens, "length")
    assert answer(llm, form, stop=["gh"]).text[1:] == "cdef"
    assert answer(llm, form, stop_token_ids=[llm.get_tokenizer().get_vocab()["h"]]).token_ids == answer(
        llm, form, stop_token_ids=[llm.get_tokenizer().get_vocab()["h"]], logprobs=0).token_ids


def test_min_tokens_keep_an_answer_going_and_a_form_that_is_full_ends_it_with_the_reason(llm):
    assert len(answer(llm, {"regex": "a+b*"}, min_tokens=20, max_tokens=40).text) >= 20
    full = answer(llm, {"regex": "abc"}, min_tokens=20, max_tokens=40)
    assert (full.text, full.finish_reason) == ("abc", "stop")
    assert full.stop_reason.startswith("no token is allowed: ") and "structured_outputs" in full.stop_reason


def test_stop_strings_and_stop_token_ids_end_an_answer_before_its_form_does(llm):
    assert answer(llm, {"regex": "[ab]{3}c{20}"}, stop=["cc"]).text in {
        f"{x}{y}{z}" for x in "ab" for y in "ab" for z in "ab"}
    found = answer(llm, {"regex": "[ab]{3}c{20}"}, stop_token_ids=[llm.get_tokenizer().get_vocab()["c"]])
    assert (found.finish_reason, found.stop_reason) == ("stop", llm.get_tokenizer().get_vocab()["c"])


def test_a_special_stop_token_may_come_where_the_answer_is_whole(llm):
    special = llm.get_tokenizer().get_vocab()["<|im_start|>"]
    found = answer(llm, {"regex": "abc"}, stop_token_ids=[special], logit_bias={special: 100, EOS: -100})

    assert (found.text, found.stop_reason) == ("abc", special)


def test_bad_words_and_allowed_ids_hold_inside_a_form(llm):
    vocabulary = llm.get_tokenizer().get_vocab()
    assert answer(llm, {"regex": "[ab]{9}"}, bad_words=["a"]).text == "b" * 9
    only = [vocabulary["b"], EOS]
    assert answer(llm, {"regex": "[ab]{9}"}, allowed_token_ids=only).text == "b" * 9


def test_an_answer_that_the_other_fields_make_impossible_ends_with_the_reason(llm):
    found = answer(llm, {"regex": "abc"}, bad_words=["b"])

    assert (found.text, found.finish_reason) == ("a", "stop") and "bad_words" in found.stop_reason


@pytest.mark.parametrize(("form", "message"), [
    ({"regex": "("}, "structured_outputs.regex"), ({"json": {"type": "strin"}}, "structured_outputs.json"),
    ({}, "structured_outputs = []"), ({"jsn": {}}, "did you mean 'json'"), ("json", "structured_outputs = 'json'")])
def test_a_wrong_form_is_refused(llm, form, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        answer(llm, form)


def test_a_form_is_given_as_object_as_dictionary_or_under_older_names():
    params = StructuredOutputsParams(regex="a")

    assert SamplingParams(structured_outputs=params) == SamplingParams(structured_outputs={"regex": "a"})
    assert SamplingParams(structured_outputs=params) == SamplingParams(guided_decoding={"regex": "a"})


@pytest.mark.parametrize(("ending", "kwargs", "is_first"), [
    ("<think>", {}, False), ("<think></think>\n", {}, True), ("<think>", {"enable_in_reasoning": True}, True),
    ("<think>", {"structured_outputs_config": {"enable_in_reasoning": True}}, True)])
def test_in_a_chat_a_form_waits_for_the_end_of_reasoning_that_the_prompt_began(directory, ending, kwargs, is_first):
    template = "{{ messages[0].content }}{% if false %}</think>{% endif %}" + ending
    with engine(directory, chat_template=template, **kwargs) as llm:
        [output] = llm.chat([{"role": "user", "content": "Hi"}], sampled({"choice": ["yes"]}, max_tokens=20),
                            use_tqdm=False)

    assert (output.outputs[0].text == "yes") is is_first
    assert len(output.outputs[0].token_ids) == (4 if is_first else 20)


@pytest.mark.parametrize(("prompt", "options", "is_first"), [
    ("Once <think>", {}, True), ("Once <think>", {"reasoning_parser": "qwen3"}, False),
    ("Once <think></think>\n\n", {"reasoning_parser": "qwen3"}, True),
    ("Once <think>", {"reasoning_parser": "none"}, True),
    ("Once <think>", {"reasoning_parser": "qwen3", "enable_in_reasoning": True}, True)])
def test_behind_a_prompt_of_a_named_format_a_form_waits_for_the_end_of_reasoning(directory, prompt, options, is_first):
    with engine(directory, **options) as llm:
        given = [prompt, {"prompt_token_ids": llm.get_tokenizer().encode(prompt)}]
        outputs = llm.generate(given, sampled({"choice": ["yes"]}, max_tokens=20), use_tqdm=False)

    for output in outputs:
        assert (output.outputs[0].text == "yes") is is_first
        assert len(output.outputs[0].token_ids) == (4 if is_first else 20)


def test_a_budget_of_reasoning_ends_it_between_two_characters_and_the_form_follows(directory):
    with engine(directory, reasoning_parser="qwen3") as llm:
        end = llm.get_tokenizer().encode("</think>", add_special_tokens=False)
        params = [sampled({"choice": ["yes"]}, seed=seed, max_tokens=60, reasoning_budget=ReasoningBudget(
            max_tokens=5, end_token_ids=end, is_open=True)) for seed in range(20)]
        outputs = llm.generate(["Once <think>"] * 20, params, use_tqdm=False)

    places = []
    for output in outputs:
        reasoning, _, answer = output.outputs[0].text.partition("</think>")
        places.append(len(reasoning.encode()))      # of a tokenizer of bytes
        assert answer.strip() == "yes" and output.outputs[0].finish_reason == "stop"
    assert set(places) > {5} and max(places) <= 8      # tokens of a character that was begun come first


def test_a_budget_of_reasoning_beside_a_form_that_begins_with_the_answer_is_refused(llm):
    budget = ReasoningBudget(max_tokens=5, end_token_ids=[1], is_open=True)
    with pytest.raises(RequestError, match=r"reasoning_budget = .*None beside a form that begins with the answer"):
        llm.generate("Once", sampled({"choice": ["yes"]}, reasoning_budget=budget), use_tqdm=False)


def test_the_name_of_a_format_that_nobody_knows_is_refused(directory):
    with pytest.raises(ConfigError, match=r"reasoning_parser = 'qwen33'.*Did you mean qwen3"):
        engine(directory, reasoning_parser="qwen33")


def test_beam_search_takes_no_form():
    with pytest.raises(NotBuiltError, match="structured_outputs"):
        SamplingParams(use_beam_search=True, n=2, structured_outputs={"regex": "a"})


def test_without_a_tokenizer_a_form_is_refused(directory):
    with engine(directory, skip_tokenizer_init=True) as llm, pytest.raises(RequestError, match="structured_outputs"):
        llm.generate({"prompt_token_ids": [1]}, sampled({"regex": "a"}, detokenize=False), use_tqdm=False)


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
@pytest.mark.parametrize("options", [
    {"kv_cache_memory_bytes": 2 * 2 * 2 * 8 * 4 * 16 * 17}, {"max_num_batched_tokens": 11},
    {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 2,
                            "prompt_lookup_min": 1}}], ids=["preempted", "in chunks", "with drafts"])
def test_the_same_request_gets_the_same_answer_preempted_in_chunks_and_with_drafts(llm, directory, options):
    prompts = [f"Once {i} {{\"name\": \"name\", \"age\": 1{i}}} 11-1" * 2 for i in range(5)]
    params = [sampled(form, seed=i, logprobs=1, max_tokens=60, temperature=0.7 * (i % 2))
              for i, form in enumerate([TIGHT, {"regex": "(ab|1){40}"}, FORMS["json_object"], {"regex": "1{30}x+"},
                                        {"json": PERSON}])]
    wanted = llm.generate(prompts, params, use_tqdm=False)
    with engine(directory, **options) as other:
        found = other.generate(prompts, params, use_tqdm=False)
        stats = other.stats

    assert [o.outputs[0].token_ids for o in found] == [o.outputs[0].token_ids for o in wanted]
    assert [o.outputs[0].logprobs for o in found] == [o.outputs[0].logprobs for o in wanted]
    if "speculative_config" in options:
        assert sum(stats.num_accepted_tokens_per_pos) > 0
    if "kv_cache_memory_bytes" in options:
        assert stats.num_preemptions > 0
