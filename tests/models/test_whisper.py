"""Whisper gives the tokens of Transformers' class for clips: alone, in company, in chunks and from the cache."""

from functools import partial

import numpy as np
import pytest
import tiny_encoder_decoders
from tiny_audio import RATE, clip
from tiny_encoder_decoders import answers, tokens
from tiny_whisper import IDS, START, transcribed, write_whisper

from weft import SamplingParams
from weft.errors import RequestError

COUNT = 12
_START = [IDS[text] for text in START]
_LONGER = [IDS["<|startofprev|>"], *range(40, 60), *_START]


@pytest.fixture(scope="module", params=["whisper"])
def made(tmp_path_factory):
    """(directory, model of Transformers)."""
    directory = tmp_path_factory.mktemp("whisper")
    return directory, write_whisper(directory)


engine = partial(tiny_encoder_decoders.engine, model_impl="native", max_model_len=64)


def prompt(number, decoder=_START):
    return {"prompt_token_ids": decoder, "multi_modal_data": {"audio": clip(number)}}


@pytest.mark.proves("tested", "made", {"whisper": "WhisperForConditionalGeneration"})
@pytest.mark.parametrize("isa", ["auto", "reference"])
def test_tokens_are_those_of_transformers_alone_and_in_company(made, isa):
    directory, model = made
    wanted = [transcribed(model, clip(i), _START, COUNT) for i in range(3)]
    assert len({ids[0] for ids in wanted}) == 3

    with engine(directory, cpu_isa=isa) as llm:
        assert tokens(answers(llm, [prompt(i) for i in range(3)], COUNT)) == wanted
        assert [tokens(answers(llm, [prompt(i)], COUNT))[0] for i in range(3)] == wanted


def test_a_longer_prompt_of_the_decoder_is_computed_in_chunks_and_cached_with_its_clip_alone(made):
    directory, model = made
    wanted = [transcribed(model, clip(i), _LONGER, COUNT) for i in range(2)]

    with engine(directory, max_num_batched_tokens=8, max_num_seqs=4) as llm:
        first = answers(llm, [prompt(0, _LONGER), prompt(1, _LONGER)], COUNT)
        again = answers(llm, [prompt(0, _LONGER)], COUNT)

    assert tokens(first) == wanted
    assert tokens(again) == wanted[:1]
    assert [output.num_cached_tokens for output in (*first, *again)] == [0, 0, 16]


def test_prompts_have_the_forms_of_vllm(made):
    directory, _ = made
    samples = np.repeat(clip(1), 2)                    # at twice the rate
    text, data = "".join(START), {"audio": (samples, 2 * RATE)}

    with engine(directory, skip_tokenizer_init=False) as llm:
        found = answers(llm, [
            {"prompt": text, "multi_modal_data": data},
            {"encoder_prompt": {"prompt": "", "multi_modal_data": data}, "decoder_prompt": text},
            {"encoder_prompt": {"prompt": "", "multi_modal_data": data}, "decoder_prompt": "".join(START[1:])}], COUNT)

    assert len({tuple(ids) for ids in tokens(found)}) == 1
    assert [output.prompt_token_ids for output in found] == [_START] * 3


@pytest.mark.parametrize(("given", "field"), [
    ({"prompt_token_ids": _START}, "multi_modal_data"),
    ({"prompt_token_ids": _START, "multi_modal_data": {"audio": [clip(0), clip(1)]}}, "multi_modal_data"),
    ({"prompt_token_ids": _START, "multi_modal_data": {"image": np.zeros((4, 4, 3), np.uint8)}}, "multi_modal_data"),
    (prompt(0) | {"multi_modal_data": {"audio": clip(0, seconds=1.5)}}, "multi_modal_data.audio"),
    ({"encoder_prompt": {"prompt": "words", "multi_modal_data": {"audio": clip(0)}}}, "encoder_prompt"),
])
def test_prompts_without_one_clip_that_the_model_hears_whole_are_refused(made, given, field):
    with engine(made[0]) as llm, pytest.raises(RequestError) as refused:
        answers(llm, [given], COUNT)

    assert refused.value.field == field


def test_a_forced_first_token_begins_the_answer(made):
    directory, _ = made
    forced = SamplingParams(temperature=0, max_tokens=4, forced_bos_token=_START[1])

    with engine(directory) as llm:
        plain, output = (llm.generate([prompt(0, _START[:1])], params, use_tqdm=False)[0].outputs[0].token_ids
                         for params in (SamplingParams(temperature=0, max_tokens=4), forced))

    assert plain[0] != output[0] == _START[1]


def test_a_limit_of_clips_holds(made):
    with engine(made[0], limit_mm_per_prompt={"audio": 0}) as llm, pytest.raises(RequestError, match="at most 0"):
        llm.generate([prompt(0)], use_tqdm=False)
