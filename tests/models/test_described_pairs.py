"""Described encoder-decoders give the tokens of Transformers' `generate`, however their steps are made up."""

from functools import partial

import pytest
import tiny_encoder_decoders
from tiny_encoder_decoders import DESCRIBED, PROMPTS, answers, generated, tokens, write_pair
from tiny_transformers import write_kind

from weft.errors import NotBuiltError, RequestError
from weft.sampling_params import BeamSearchParams

DECODER = [40 + i for i in range(37)]
COUNT = 12


@pytest.fixture(scope="module", params=DESCRIBED)
def made(request, tmp_path_factory):
    """(directory, model of Transformers)."""
    directory = tmp_path_factory.mktemp(request.param)
    return directory, write_pair(directory, request.param)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    directory = tmp_path_factory.mktemp("t5")
    return directory, write_pair(directory, "t5")


engine = partial(tiny_encoder_decoders.engine, model_impl="native")


def run(llm, prompts=PROMPTS, count=COUNT, **params):
    return answers(llm, prompts, count, **params)


@pytest.mark.proves("tested", "made", DESCRIBED)
@pytest.mark.parametrize("isa", ["auto", "reference"])
def test_tokens_are_those_of_generate_alone_and_in_company(made, isa):
    directory, model = made
    wanted = [generated(model, prompt, COUNT, eos_token_id=None) for prompt in PROMPTS]

    with engine(directory, cpu_isa=isa) as llm:
        assert tokens(run(llm)) == wanted
        assert [tokens(run(llm, [prompt]))[0] for prompt in PROMPTS] == wanted


def test_a_decoders_prompt_is_computed_in_chunks_beside_decodes(made):
    directory, model = made
    wanted = [generated(model, PROMPTS[1], COUNT, [3, *DECODER], eos_token_id=None),
              generated(model, PROMPTS[0], COUNT, eos_token_id=None)]

    with engine(directory, max_num_batched_tokens=8, max_num_seqs=4) as llm:
        outputs = run(llm, [{"encoder_prompt": PROMPTS[1], "decoder_prompt": DECODER}, PROMPTS[0]])

    assert tokens(outputs) == wanted


def test_decode_steps_are_recorded_and_made_again(t5):
    directory, model = t5
    with engine(directory) as llm:
        outputs = run(llm, PROMPTS[:2], 30)
        refusal, count = llm.apply_model(lambda module: (module.steps.refusal, len(module.steps._recordings)))[0]

    assert tokens(outputs) == [generated(model, prompt, 30, eos_token_id=None) for prompt in PROMPTS[:2]]
    assert count > 0 or refusal is not None


def test_after_a_preemption_the_encoder_runs_again_and_else_once(t5):
    directory, model = t5
    wanted = [generated(model, prompt, 40, eos_token_id=None) for prompt in PROMPTS]
    with engine(directory) as llm:
        (plan,) = llm.collective_rpc("memory_plan")

    few = 14 * plan["kv_cache_bytes"] // sum(plan["num_blocks"])
    with engine(directory, kv_cache_memory_bytes=few, enable_prefix_caching=False) as llm:
        calls = []
        llm.apply_model(lambda module: module.encoder.register_forward_hook(
            lambda _, args, __: calls.append(len(args[0].query_lens))))
        outputs = run(llm, count=40)

    num_preemptions = sum(output.metrics.num_preemptions for output in outputs)
    assert tokens(outputs) == wanted
    assert num_preemptions > 0
    assert sum(calls) == len(PROMPTS) + num_preemptions


def test_a_cached_prefix_of_the_decoder_is_that_of_the_same_encoder_input(t5):
    directory, model = t5
    first, second = ({"encoder_prompt": prompt, "decoder_prompt": DECODER} for prompt in (PROMPTS[1], PROMPTS[2]))
    wanted = [generated(model, prompt, COUNT, [3, *DECODER], eos_token_id=None) for prompt in (PROMPTS[1], PROMPTS[2])]

    with engine(directory) as llm:
        outputs = [run(llm, [prompt])[0] for prompt in (first, first, second)]

    assert tokens(outputs) == [wanted[0], *wanted]
    assert [output.num_cached_tokens for output in outputs] == [0, 32, 0]


def test_several_answers_and_beams_share_one_input(t5):
    directory, model = t5
    with engine(directory, max_num_seqs=1) as llm:
        calls = []
        llm.apply_model(lambda module: module.encoder.register_forward_hook(lambda *_: calls.append(1)))
        (output,) = run(llm, PROMPTS[1:2], n=3, temperature=1.0, top_k=1)
        (found,) = llm.beam_search([{"prompt_token_ids": PROMPTS[1]}], BeamSearchParams(
            beam_width=1, max_tokens=6, ignore_eos=True))

    assert [list(each.token_ids) for each in output.outputs] == 3 * [
        generated(model, PROMPTS[1], COUNT, eos_token_id=None)]
    assert found.sequences[0].tokens == [3, *generated(model, PROMPTS[1], 6, eos_token_id=None)]
    assert calls == [1]


def test_drafts_change_no_token(t5):
    directory, model = t5
    wanted = [generated(model, prompt, 40, eos_token_id=None) for prompt in PROMPTS]

    with engine(directory, speculative_config={"method": "ngram", "num_speculative_tokens": 3,
                                               "prompt_lookup_max": 2, "prompt_lookup_min": 1}) as llm:
        assert tokens(run(llm, count=40)) == wanted


@pytest.mark.parametrize(("kind", "key"), [("mvp-prompts", "use_prompt"), ("longt5-global", "encoder_attention_type")])
def test_what_a_description_leaves_out_runs_through_transformers(tmp_path, kind, key):
    model = write_pair(tmp_path, kind)

    with engine(tmp_path, model_impl="auto") as llm:
        assert tokens(run(llm, PROMPTS[:1], 4)) == [generated(model, PROMPTS[0], 4, eos_token_id=None)]
    with pytest.raises(NotBuiltError, match=f"{key} = "):
        engine(tmp_path)


def test_a_forced_token_needs_an_encoder_and_the_start_token_alone(t5, tmp_path):
    write_kind(tmp_path, "llama")
    with engine(t5[0]) as llm:
        with pytest.raises(RequestError, match="forced_bos_token = 9: expected None beside a decoder_prompt"):
            run(llm, [{"encoder_prompt": PROMPTS[0], "decoder_prompt": [40]}], forced_bos_token=9)
        with pytest.raises(RequestError, match="forced_bos_token = 'a': expected a token id"):
            run(llm, PROMPTS[:1], forced_bos_token="a")
    with engine(tmp_path) as llm, pytest.raises(RequestError, match=r"forced_bos_token.*has no encoder"):
        run(llm, [[7]], forced_bos_token=9)
