"""Models with audio give Transformers' tokens: alone, two clips, beside text, in chunks, cached."""

import numpy as np
import pytest
import torch
from tiny_audio import AUDIO_ID, RATE, clip, heard, write_audio_model

from weft import LLM, SamplingParams
from weft.errors import RequestError

COUNT = 8
PROMPTS = [("w1 w2 <audio> w3", (0,)), ("w9 w10 w11", ()), ("<audio> w5", (1,))]
TWO = ("w5 <audio> w6 <audio> w7", (0, 2))


def engine(directory, **options):
    return LLM(model=str(directory), **{"dtype": "float32", "max_model_len": 160, "use_tqdm_on_load": False,
                                        "num_threads": 1} | options)


def ask(llm, prompts):
    params = SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True)
    outputs = llm.generate(prompts, params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def given(prompts):
    return [{"prompt": text, "multi_modal_data": {"audio": [clip(i) for i in clips]}} for text, clips in prompts]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """(directory, the tokens that Transformers gives for PROMPTS and TWO)."""
    directory = tmp_path_factory.mktemp("qwen2-audio")
    model, processor = write_audio_model(directory, "qwen2-audio")
    return directory, [heard(model, processor, text, [clip(i) for i in clips], COUNT)
                       for text, clips in [*PROMPTS, TWO]]


@pytest.fixture(scope="module")
def llm(qwen):
    with engine(qwen[0], limit_mm_per_prompt={"audio": 2}) as llm:
        yield llm


@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 7, "max_num_seqs": 3},
                                     {"enable_prefix_caching": False, "max_num_seqs": 1}], ids=str)
def test_tokens_are_those_of_transformers(qwen, options):
    directory, wanted = qwen

    with engine(directory, **options) as llm:
        first, again = (ask(llm, given([*PROMPTS, TWO])) for _ in range(2))

    assert first == again == wanted


def test_a_model_whose_rows_come_of_a_mask_gives_transformers_tokens(tmp_path):
    model, processor = write_audio_model(tmp_path, "audioflamingo3")
    wanted = [heard(model, processor, text, [clip(i) for i in clips], COUNT) for text, clips in PROMPTS]

    with engine(tmp_path) as llm:
        assert ask(llm, given(PROMPTS)) == wanted


def test_without_a_processor_prompts_are_ids_with_a_token_for_each_row(tmp_path):
    model, extractor = write_audio_model(tmp_path, "voxtral")
    features = extractor([clip(0)], sampling_rate=RATE, return_tensors="pt")["input_features"]
    num_rows = model.model.get_audio_features(features).pooler_output.shape[0]
    ids = [9, 10, *[AUDIO_ID] * num_rows, 11]
    with torch.inference_mode():
        answer = model.generate(torch.tensor([ids]), input_features=features, max_new_tokens=COUNT,
                                min_new_tokens=COUNT, do_sample=False)

    with engine(tmp_path) as llm:
        audio = {"multi_modal_data": {"audio": clip(0)}}
        (found,) = ask(llm, [{"prompt_token_ids": ids} | audio])
        with pytest.raises(RequestError, match="no processor that takes a text"):
            ask(llm, [{"prompt": "w1 <audio>"} | audio])

    assert found == answer[0, len(ids):].tolist()


@pytest.mark.parametrize("form", ["rate", "list", "tensor", "channels", "another rate"])
def test_forms_of_a_clip_are_the_same_clip(qwen, llm, form):
    wanted = qwen[1][0]
    samples = clip(0)
    if form == "another rate":
        soxr = pytest.importorskip("soxr")
        given = (soxr.resample(samples, RATE, 48_000), 48_000)
        wanted = None                  # resampled twice, the samples are not the same: only that the model takes them
    else:
        given = {"rate": (samples, RATE), "list": samples.tolist(), "tensor": torch.from_numpy(samples),
                 "channels": (np.stack([samples, samples]), RATE)}[form]

    (found,) = ask(llm, [{"prompt": PROMPTS[0][0], "multi_modal_data": {"audio": given}}])

    assert len(found) == COUNT if wanted is None else found == wanted


@pytest.mark.parametrize(("prompt", "names"), [
    ({"prompt": "w1 w2", "multi_modal_data": {"audio": clip(0)}}, "multi_modal_data|prompt"),
    ({"prompt": "<audio>", "multi_modal_data": {"audio": "a text"}}, "multi_modal_data.audio"),
    ({"prompt": "<audio>", "multi_modal_data": {"audio": (clip(0), 0)}}, "a rate of 0"),
    ({"prompt": "<audio>", "multi_modal_data": {"audio": np.full(9, np.nan)}}, "all finite"),
    ({"prompt": "<audio>", "multi_modal_data": {"audio": np.zeros(0)}}, "0.0 s"),
    ({"prompt": "<audio>", "multi_modal_data": {"audio": (np.zeros(7201 * 1000, np.float32), 1000)}}, "7201.0 s"),
    ({"prompt": "<audio>", "multi_modal_data": {"audio": [clip(0)] * 3}}, "limit_mm_per_prompt"),
    ({"prompt": "<audio>", "multi_modal_data": {"image": np.zeros((4, 4, 3), np.uint8)}}, "takes no images"),
    ({"prompt_token_ids": [AUDIO_ID, AUDIO_ID], "multi_modal_data": {"audio": clip(0)}}, "2 audio tokens"),
])
def test_a_wrong_prompt_is_refused_and_the_next_one_runs(qwen, llm, prompt, names):
    with pytest.raises(RequestError, match=names):
        ask(llm, [prompt])

    assert ask(llm, given(PROMPTS[:1])) == qwen[1][:1]
