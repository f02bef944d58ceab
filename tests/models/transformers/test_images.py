"""Models with images give Transformers' tokens: alone, two images, beside text, in chunks, cached and preempted."""

import numpy as np
import pytest
import torch
from tiny_vision import IMAGE_ID, NUM_ROWS, generated, picture, write_llava
from transformers import AutoProcessor

from weft import LLM, SamplingParams
from weft.errors import NotBuiltError, RequestError

COUNT = 10
PROMPTS = [("w1 w2 <image> w3 w4", (0,)), ("w5 <image> w6 <image> w7 w8", (0, 1)), ("w9 w10 w11 w12", ()),
           ("<image> w13", (2,)), ("w1 w2 <image> w3 w4 w14", (0,))]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """(directory, the tokens that Transformers gives)."""
    directory = tmp_path_factory.mktemp("llava")
    model = write_llava(directory)
    processor = AutoProcessor.from_pretrained(directory)
    return directory, [generated(model, processor, text, [picture(i) for i in images], COUNT)
                       for text, images in PROMPTS]


def engine(directory, **options):
    return LLM(model=str(directory), **{"dtype": "float32", "max_model_len": 96, "use_tqdm_on_load": False,
                                        "num_threads": 1} | options)


def ask(llm, prompts=PROMPTS, **more):
    params = SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True, **more)
    given = [{"prompt": text, "multi_modal_data": {"image": [picture(i) for i in images]}} for text, images in prompts]
    outputs = llm.generate(given, params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs], outputs


@pytest.mark.parametrize("options", [
    {}, {"max_num_batched_tokens": 7, "max_num_seqs": 3}, {"max_num_seqs": 1}, {"enable_prefix_caching": False},
    {"model_impl": "transformers", "cpu_isa": "reference"}], ids=str)
def test_tokens_are_those_of_transformers(llava, options):
    directory, wanted = llava

    with engine(directory, **options) as llm:
        first, _ = ask(llm)
        again, _ = ask(llm)

    assert first == again == wanted


def test_a_preempted_sequence_sees_its_images_again(llava):
    directory, wanted = llava
    with engine(directory, block_size=4) as llm:
        (plan,) = llm.collective_rpc("memory_plan")
    num_bytes = 30 * plan["kv_cache_bytes"] // plan["num_blocks"][0]      # the prompts alone take 27 blocks

    with engine(directory, block_size=4, kv_cache_memory_bytes=num_bytes) as llm:
        found, outputs = ask(llm)

    assert found == wanted
    assert sum(output.metrics.num_preemptions for output in outputs) > 0


def test_a_question_about_the_same_image_skips_encoder_and_prefix_and_another_image_does_not(llava):
    directory, _ = llava
    text = "w1 <image> w2 w3"

    with engine(directory) as llm:
        _, (first,) = ask(llm, [(text, (0,))])
        _, (same,) = ask(llm, [(text, (0,))])
        _, (other,) = ask(llm, [(text, (3,))])
        _, (moved,) = ask(llm, [("w4 w5 <image>", (0,))])
        stats = llm.stats

    assert [first.num_cached_tokens, same.num_cached_tokens, other.num_cached_tokens] == [0, 16, 0]
    assert moved.num_cached_tokens == 0
    assert (stats.media_queries, stats.media_hits, stats.media_rows) == (4, 2, 2 * NUM_ROWS)


def test_rows_of_an_image_are_shared_within_a_cache_salt_alone(llava):
    directory, wanted = llava
    prompt = {"prompt": PROMPTS[0][0], "multi_modal_data": {"image": picture(0)}}
    params = SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True)

    with engine(directory) as llm:
        hits = []
        for salt in ("a", "a", "b", None):
            (output,) = llm.generate([prompt | {"cache_salt": salt}], params, use_tqdm=False)
            hits.append(llm.stats.media_hits)
            assert list(output.outputs[0].token_ids) == wanted[0]

    assert hits == [0, 1, 1, 1]


def test_prompt_token_ids_have_one_image_token_for_an_image_or_for_each_row(llava):
    directory, wanted = llava
    image = {"multi_modal_data": {"image": picture(0)}}

    with engine(directory) as llm:
        short, long = (llm.generate([{"prompt_token_ids": [9, 10, *[IMAGE_ID] * count, 11, 12]} | image],
                                    SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True), use_tqdm=False)[0]
                       for count in (1, NUM_ROWS))

    assert short.prompt_token_ids == long.prompt_token_ids == [9, 10, *[IMAGE_ID] * NUM_ROWS, 11, 12]
    assert list(short.outputs[0].token_ids) == list(long.outputs[0].token_ids) == wanted[0]


@pytest.mark.parametrize("shape", ["array", "channels first", "tensor", "floats"])
def test_an_image_may_be_an_array_or_a_tensor(llava, shape):
    directory, wanted = llava
    array = np.asarray(picture(0))
    image = {"array": array, "channels first": array.transpose(2, 0, 1), "tensor": torch.from_numpy(array.copy()),
             "floats": array / 255}[shape]

    with engine(directory) as llm:
        (output,) = llm.generate([{"prompt": PROMPTS[0][0], "multi_modal_data": {"image": image}}],
                                 SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True), use_tqdm=False)

    assert list(output.outputs[0].token_ids) == wanted[0]


@pytest.mark.parametrize(("prompt", "options", "names"), [
    ({"prompt": "w1 w2", "multi_modal_data": {"image": picture(0)}}, {}, "multi_modal_data|prompt"),
    ({"prompt": "<image> <image>", "multi_modal_data": {"image": picture(0)}}, {}, "multi_modal_data|prompt"),
    ({"prompt_token_ids": [IMAGE_ID, IMAGE_ID], "multi_modal_data": {"image": picture(0)}}, {}, "prompt_token_ids"),
    ({"prompt": "<image>", "multi_modal_data": {"image": "a text"}}, {}, "multi_modal_data.image"),
    ({"prompt": "<image>", "multi_modal_data": {"image": np.zeros((5, 6, 7), np.uint8)}}, {}, "multi_modal_data.image"),
    ({"prompt": "<image>", "multi_modal_data": {"image": [picture(0)] * 3}}, {}, "limit_mm_per_prompt"),
    ({"prompt": "<image>", "multi_modal_data": {"image": picture(0)}}, {"truncate_prompt_tokens": 3}, "truncate"),
    ({"prompt": "<image>", "multi_modal_data": {"image": picture(0)}, "mm_processor_kwargs": {"size": "large"}}, {},
     "multi_modal_data"),
    ({"prompt": "<image>", "multi_modal_data": {"image": picture(0)},
      "mm_processor_kwargs": {"size": {"height": 100_000, "width": 100_000}}}, {}, "mm_processor_kwargs.size.height"),
])
def test_a_wrong_prompt_is_refused_and_the_next_one_runs(llava, prompt, options, names):
    directory, wanted = llava

    with engine(directory, limit_mm_per_prompt={"image": 2}) as llm:
        with pytest.raises(RequestError, match=names):
            llm.generate([prompt], SamplingParams(**options), use_tqdm=False)
        found, _ = ask(llm, PROMPTS[:1])

    assert found == wanted[:1]


def test_video_is_not_built_and_a_name_takes_the_place_of_the_content(llava):
    directory, wanted = llava

    with engine(directory) as llm:
        with pytest.raises(NotBuiltError, match="video"):
            llm.generate([{"prompt": "w1", "multi_modal_data": {"video": [1]}}], use_tqdm=False)
        params = SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True)
        for number in (0, 3):       # the second image has the first one's name: its rows and its prefix are the first's
            (output,) = llm.generate([{"prompt": PROMPTS[0][0], "multi_modal_data": {"image": picture(number)},
                                       "multi_modal_uuids": {"image": "first"}}], params, use_tqdm=False)

    assert output.num_cached_tokens == 16
    assert list(output.outputs[0].token_ids) == wanted[0]


def test_a_text_model_refuses_images(tmp_path):
    from tiny_transformers import write_kind

    write_kind(tmp_path, "llama")

    with engine(tmp_path, skip_tokenizer_init=True) as llm, pytest.raises(RequestError, match="takes no images"):
        llm.generate([{"prompt_token_ids": [1], "multi_modal_data": {"image": picture(0)}}], use_tqdm=False)
