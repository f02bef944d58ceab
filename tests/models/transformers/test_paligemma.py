"""PaliGemma's prompts, whose tokens all see each other, give Transformers' tokens: as text, and as token ids."""

import pytest
from tiny_vision import IMAGE_ID, NUM_ROWS, SIDE, generated, picture, word_tokenizer, write_kind_with_images
from transformers import PaliGemmaProcessor, SiglipImageProcessorPil

from weft import LLM, SamplingParams

COUNT = 8
PROMPTS = [("<image> w1 w2 w3", (0,)), ("<image><image> w4 w5", (1, 2)), ("<image> w1 w2 w6", (0,))]
PARAMS = SamplingParams(temperature=0, max_tokens=COUNT, min_tokens=COUNT, ignore_eos=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(directory, Transformers' tokens)."""
    directory = tmp_path_factory.mktemp("paligemma")
    model, _ = write_kind_with_images(directory, "paligemma")
    images = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_seq_length=NUM_ROWS)
    processor = PaliGemmaProcessor(image_processor=images, tokenizer=word_tokenizer(image_token="<image>"))
    processor.save_pretrained(directory)
    return directory, [generated(model, processor, text, [picture(i) for i in numbers], COUNT)
                       for text, numbers in PROMPTS]


@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 40, "max_num_seqs": 2}], ids=str)
def test_texts_and_token_ids_give_the_tokens_of_transformers(made, options):
    directory, wanted = made
    prompts = [{"prompt": text, "multi_modal_data": {"image": [picture(i) for i in numbers]}}
               for text, numbers in PROMPTS]
    short = {"prompt_token_ids": [IMAGE_ID, 1, 9, 10, 11], "multi_modal_data": prompts[0]["multi_modal_data"]}

    with LLM(model=str(directory), dtype="float32", max_model_len=96, num_threads=1, use_tqdm_on_load=False,
             **options) as llm:
        outputs = llm.generate([*prompts, short], PARAMS, use_tqdm=False)
        again = llm.generate(prompts[:1], PARAMS, use_tqdm=False)

    assert [list(output.outputs[0].token_ids) for output in (*outputs, *again)] == [*wanted, wanted[0], wanted[0]]
    assert outputs[3].prompt_token_ids == outputs[0].prompt_token_ids == [*[IMAGE_ID] * NUM_ROWS, 1, 9, 10, 11]
