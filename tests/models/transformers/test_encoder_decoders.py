"""Encoder-decoder models of Transformers give the tokens of `generate`: alone, in company and after preemption."""

import json
from functools import partial

import pytest
import tiny_encoder_decoders
from tiny_encoder_decoders import ARCHITECTURE_OF, PROMPTS, answers, generated, tokens, write_pair
from tiny_transformers import write_kind

from weft import SamplingParams
from weft.errors import ConfigError, NotBuiltError, RequestError
from weft.sampling_params import BeamSearchParams
from weft.testing import verify_model

COUNT = 10


@pytest.fixture(scope="module", params=ARCHITECTURE_OF)
def made(request, tmp_path_factory):
    """(directory, model of Transformers)."""
    directory = tmp_path_factory.mktemp(request.param)
    return directory, write_pair(directory, request.param)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    directory = tmp_path_factory.mktemp("t5")
    return directory, write_pair(directory, "t5")


engine = partial(tiny_encoder_decoders.engine, model_impl="transformers")


def run(llm, prompts=PROMPTS, count=COUNT, **params):
    return answers(llm, prompts, count, **params)


@pytest.mark.proves("transformers", "made", ARCHITECTURE_OF)
def test_tokens_are_those_of_generate(made):
    directory, model = made
    wanted = [generated(model, prompt, COUNT, eos_token_id=None) for prompt in PROMPTS]

    with engine(directory) as llm:
        outputs = run(llm)
        assert tokens(outputs) == wanted
        assert tokens(run(llm, PROMPTS[1:2])) == wanted[1:2]                       # alone

    assert [output.encoder_prompt_token_ids for output in outputs] == PROMPTS
    assert [output.prompt_token_ids for output in outputs] == [[3]] * len(PROMPTS)
    assert outputs[0].num_prompt_tokens == len(PROMPTS[0]) + 1


def test_after_a_preemption_the_encoder_runs_again_and_else_once(t5):
    directory, model = t5
    wanted = [generated(model, prompt, 40, eos_token_id=None) for prompt in PROMPTS]
    with engine(directory) as llm:
        (plan,) = llm.collective_rpc("memory_plan")

    with engine(directory, kv_cache_memory_bytes=7 * plan["kv_cache_bytes"] // plan["num_blocks"][0]) as llm:
        calls = []
        llm.apply_model(lambda module: module.model.get_encoder().register_forward_hook(
            lambda *_: calls.append(1)))
        outputs = run(llm, count=40)

    num_preemptions = sum(output.metrics.num_preemptions for output in outputs)
    assert tokens(outputs) == wanted
    assert num_preemptions > 0
    assert len(calls) == len(PROMPTS) + num_preemptions


def test_what_is_kept_of_a_sequence_is_dropped_when_it_ends(t5):
    with engine(t5[0]) as llm:
        run(llm)
        (held,) = llm.collective_rpc(lambda worker: len(worker.model.own_caches))

    assert held == 0


@pytest.mark.parametrize("decoder", [[3, 40, 41], [40, 41], None])
def test_the_decoders_prompt_begins_with_its_start_token(t5, decoder):
    directory, model = t5
    wanted = generated(model, PROMPTS[1], 8, decoder, eos_token_id=None)

    with engine(directory) as llm:
        (output,) = run(llm, [{"encoder_prompt": PROMPTS[1], "decoder_prompt": decoder}], 8)

    assert tokens([output]) == [wanted]
    assert output.prompt_token_ids == ([3] if decoder is None else [3, 40, 41])


def test_a_forced_token_is_the_first_of_the_answer_unless_the_decoders_prompt_goes_on(tmp_path):
    model = write_pair(tmp_path, "bart", forced_bos_token_id=9)
    prompt = {"encoder_prompt": PROMPTS[1], "decoder_prompt": [40]}

    with engine(tmp_path) as llm:
        plain, continued = run(llm, [PROMPTS[1], prompt], 8)

    assert plain.outputs[0].token_ids == generated(model, PROMPTS[1], 8, eos_token_id=None)
    assert plain.outputs[0].token_ids[0] == 9
    assert continued.outputs[0].token_ids == generated(model, PROMPTS[1], 8, [40], eos_token_id=None)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_forced_end_is_the_last_token_that_max_tokens_allows(tmp_path, count):
    model = write_pair(tmp_path, "bart", forced_eos_token_id=7, eos_token_id=7)

    with engine(tmp_path) as llm:
        (output,) = llm.generate([{"prompt_token_ids": PROMPTS[1]}],
                                 SamplingParams(temperature=0, max_tokens=count, min_tokens=count), use_tqdm=False)

    answer = output.outputs[0]
    assert answer.token_ids == generated(model, PROMPTS[1], count)
    assert (answer.token_ids[-1], answer.finish_reason) == (7, "stop")


def test_a_beam_search_of_width_one_finds_the_greedy_answer(t5):
    directory, model = t5

    with engine(directory) as llm:
        (found,) = llm.beam_search([{"prompt_token_ids": PROMPTS[1]}], BeamSearchParams(
            beam_width=1, max_tokens=6, ignore_eos=True))

    assert found.sequences[0].tokens == [3, *generated(model, PROMPTS[1], 6, eos_token_id=None)]


def test_text_is_the_encoders_and_decoder_text_gets_no_special_tokens(t5, toy_tokenizer):
    with engine(t5[0], skip_tokenizer_init=False, tokenizer=str(toy_tokenizer)) as llm:
        plain, pair = llm.generate(["ab", {"encoder_prompt": "ab", "decoder_prompt": "c"}],
                                   SamplingParams(temperature=0, max_tokens=2), use_tqdm=False)

    assert (plain.encoder_prompt, plain.encoder_prompt_token_ids) == ("ab", [97, 98])
    assert (plain.prompt, plain.prompt_token_ids) == (None, [3])
    assert (pair.encoder_prompt, pair.prompt, pair.prompt_token_ids) == ("ab", "c", [3, 99])


def test_prompts_that_do_not_fit_are_refused_by_name(tmp_path):
    write_pair(tmp_path, "bart")

    with engine(tmp_path) as llm:
        with pytest.raises(RequestError, match=r"prompt = 129.*up to 128 tokens.*encoder"):
            run(llm, [[7] * 129])
        with pytest.raises(RequestError, match=r"encoder_prompt = 129.*up to 128 tokens"):
            run(llm, [{"encoder_prompt": [7] * 129}])
        with pytest.raises(RequestError, match=r"encoder_prompt = None.*a prompt for the encoder"):
            run(llm, [{"decoder_prompt": [7]}])
        with pytest.raises(RequestError, match=r"encoder_prompt\[1\] = 260"):
            run(llm, [{"encoder_prompt": [7, 260]}])
        assert len(run(llm, [[7] * 129], 2, truncate_prompt_tokens=-1)[0].encoder_prompt_token_ids) == 128


def test_an_encoder_prompt_for_a_model_without_an_encoder_is_refused(tmp_path):
    write_kind(tmp_path, "llama")

    with engine(tmp_path) as llm, pytest.raises(RequestError, match=r"encoder_prompt.*has no encoder"):
        run(llm, [{"encoder_prompt": [7], "decoder_prompt": [8]}])


def test_the_two_languages_of_a_model_may_have_vocabularies_of_their_own(tmp_path):
    write_pair(tmp_path, "fsmt")

    with engine(tmp_path) as llm:
        run(llm, [{"encoder_prompt": [267]}], 2)
        with pytest.raises(RequestError, match="decoder_prompt"):
            run(llm, [{"encoder_prompt": [267], "decoder_prompt": [267]}])


def test_a_comparison_part_by_part_is_refused(t5):
    with pytest.raises(NotBuiltError, match="encoder"):
        verify_model(t5[0])


def test_an_encoder_decoder_that_cannot_be_called_with_a_prompt_alone_is_refused(tmp_path):
    write_pair(tmp_path, "t5")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["T5Model"]}))

    with pytest.raises(ConfigError, match=r"T5Model.*In Transformers it raises ValueError"):
        engine(tmp_path)
