"""Kinds of models with images give Transformers' tokens: several channels of positions, DeepStack, images that see
themselves, and models that run unmodified."""

import pytest
from tiny_vision import IMAGE_ID, KINDS, picture, prompt_and_answer, write_kind_with_images

from weft import LLM, SamplingParams
from weft.errors import RequestError

COUNT = 8
PARTS = [(9, 10, picture(0), 11, 12), (13, picture(1, 60, 30), 14, 15, picture(2), 16), (9, 10, 11, 12, 20, 21),
         (9, 10, picture(0), 11, 12, 17)]
LEVELS = {"qwen2-vl": "wired and fused", "qwen3-vl": "wired", "gemma3": "wired", "paligemma": "own cache",
          "qwen3.5": "own cache", "deepseek-vl-hybrid": "wired and fused"}


@pytest.fixture(scope="module", params=list(KINDS))
def made(request, tmp_path_factory):
    """(kind, directory, prompts, Transformers' answers)."""
    directory = tmp_path_factory.mktemp(request.param)
    model, processor = write_kind_with_images(directory, request.param)
    pairs = [prompt_and_answer(model, processor, parts, COUNT) for parts in PARTS]
    prompts = [{"prompt_token_ids": ids, "multi_modal_data": {"image": [x for x in parts if not isinstance(x, int)]}}
               for (ids, _), parts in zip(pairs, PARTS, strict=True)]
    return request.param, directory, prompts, [answer for _, answer in pairs]


def engine(directory, **options):
    return LLM(model=str(directory), **{"dtype": "float32", "max_model_len": 96, "use_tqdm_on_load": False,
                                        "num_threads": 1, "skip_tokenizer_init": True} | options)


def ask(llm, prompts):
    params = SamplingParams(temperature=0, max_tokens=COUNT, min_tokens=COUNT, ignore_eos=True)
    return [list(output.outputs[0].token_ids) for output in llm.generate(prompts, params, use_tqdm=False)]


@pytest.mark.parametrize("budget", [None, 24])
def test_tokens_are_those_of_transformers(made, budget):
    kind, directory, prompts, wanted = made
    budget = 48 if LEVELS[kind] == "own cache" and budget else budget      # a prompt with images is one step's

    with engine(directory, max_num_batched_tokens=budget, max_num_seqs=3) as llm:
        levels = llm.apply_model(lambda module: module.level)
        together, alone = ask(llm, prompts), [ask(llm, [prompt])[0] for prompt in prompts]

    assert together == alone == wanted
    assert levels == [LEVELS[kind]]


def test_a_preempted_sequence_computes_its_prompt_again_as_before(made):
    _, directory, prompts, wanted = made
    options = {"block_size": 4, "max_num_seqs": 4, "max_model_len": 48, "enable_prefix_caching": False}
    with engine(directory, **options) as llm:
        (plan,) = llm.collective_rpc("memory_plan")
    num_blocks = 1 + sum(-(-len(prompt["prompt_token_ids"]) // 4) for prompt in prompts)        # of the prompts, and 1
    num_bytes = num_blocks * plan["kv_cache_bytes"] // plan["num_blocks"][0]

    with engine(directory, kv_cache_memory_bytes=num_bytes, **options) as llm:
        params = SamplingParams(temperature=0, max_tokens=COUNT, min_tokens=COUNT, ignore_eos=True)
        outputs = llm.generate(prompts, params, use_tqdm=False)

    assert [list(output.outputs[0].token_ids) for output in outputs] == wanted
    assert any(output.metrics and output.metrics.num_preemptions for output in outputs)


@pytest.mark.parametrize("made", ["qwen2-vl", "qwen3.5", "gemma3"], indirect=True)
def test_a_wrong_number_of_image_tokens_is_one_clear_error_and_other_requests_run(made, caplog):
    kind, directory, prompts, wanted = made
    wrong = {"prompt_token_ids": [9, 6, IMAGE_ID, 7], "multi_modal_data": prompts[0]["multi_modal_data"]}

    with engine(directory) as llm:
        if kind == "gemma3":                  # no part of its processor tells the number of rows: the encoder does
            params = SamplingParams(temperature=0, max_tokens=COUNT, min_tokens=COUNT, ignore_eos=True)
            output, beside = llm.generate([wrong, prompts[0]], params, use_tqdm=False)
            assert list(beside.outputs[0].token_ids) == wanted[0]
            assert output.outputs[0].finish_reason == "error"
            assert "1 places in the prompt" in str(output.error)
            assert "Traceback" not in caplog.text
        else:
            with pytest.raises(RequestError, match=r"prompt_token_ids = '1 image tokens': expected 6 "):
                llm.generate([wrong], use_tqdm=False)
        assert ask(llm, prompts[:1]) == wanted[:1]


@pytest.mark.parametrize("made", ["qwen2-vl", "qwen3-vl"], indirect=True)
def test_chunks_end_within_images(made):
    _, directory, prompts, wanted = made

    with engine(directory, max_num_batched_tokens=5, max_num_seqs=2) as llm:
        assert ask(llm, prompts) == wanted


@pytest.mark.parametrize("made", ["gemma3", "paligemma"], indirect=True)
def test_an_image_that_no_step_can_compute_whole_is_refused(made):
    _, directory, prompts, _ = made

    with (engine(directory, max_num_batched_tokens=3, max_num_seqs=2) as llm,
          pytest.raises(RequestError, match="max_num_batched_tokens")):
        ask(llm, prompts[:1])


@pytest.mark.parametrize("made", ["qwen2-vl"], indirect=True)
def test_a_text_prompt_needs_a_processor_of_the_checkpoint(made):
    _, directory, prompts, _ = made

    with engine(directory) as llm, pytest.raises(RequestError, match=r"prompt_token_ids|skip_tokenizer_init"):
        llm.generate([{"prompt": "w1", "multi_modal_data": prompts[0]["multi_modal_data"]}], use_tqdm=False)
