"""Encoders give the states of Transformers: alone, in company, whatever the kernels, whichever way they are stored."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_encoders import (
    ARCHITECTURE_OF,
    KINDS,
    MAX_LEN,
    prompts,
    rename_tensors,
    token_states,
    write_encoder,
    write_sentence_files,
)
from torch import Tensor, nn

from weft import LLM, AsyncLLM, EngineArgs, PoolingParams, SamplingParams
from weft.errors import CheckpointError, ConfigError, RequestError

TOLERANCE = 2e-5      # of a state around 1, float32 on both sides
PROMPTS = prompts(1, 2, 15, 16, 17, 40, MAX_LEN)


@pytest.fixture(scope="module", params=KINDS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp(request.param)
    return path, write_encoder(path, request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("bert")
    return path, write_encoder(path)


def engine(path: Path, **options) -> LLM:
    return LLM(**({"model": str(path), "dtype": "float32", "skip_tokenizer_init": True, "num_threads": 1,
                   "use_tqdm_on_load": False} | options))


def encode(llm: LLM, prompts: list[list[int]], **params) -> list[Tensor]:
    return [output.outputs.data for output in llm.encode(prompts, PoolingParams(**params), use_tqdm=False)]


def embed(llm: LLM, prompts: list[list[int]], **params) -> Tensor:
    outputs = llm.embed(prompts, pooling_params=PoolingParams(**params), use_tqdm=False)
    return torch.tensor([output.outputs.embedding for output in outputs])


@pytest.mark.proves("tested", "tiny", ARCHITECTURE_OF)
@pytest.mark.proves("pooling", "tiny", ARCHITECTURE_OF)
@pytest.mark.parametrize("isa", ["auto", "portable", "reference"])
def test_token_states_are_those_of_transformers_alone_and_in_company(tiny, isa):
    path, model = tiny
    with engine(path, cpu_isa=isa, max_num_seqs=3) as llm:
        together = encode(llm, PROMPTS)
        alone = [encode(llm, [prompt])[0] for prompt in PROMPTS]

    for ids, states, own in zip(PROMPTS, together, alone, strict=True):
        expected = token_states(model, ids)
        assert states.dtype == torch.float32 and states.shape == expected.shape
        assert torch.allclose(states, expected, atol=TOLERANCE, rtol=0)
        assert torch.allclose(own, expected, atol=TOLERANCE, rtol=0)


def test_with_native_kernels_a_prompts_states_are_bitwise_the_same_in_any_company(bert):
    with engine(bert[0]) as llm:
        together = encode(llm, PROMPTS)
        again = encode(llm, PROMPTS[::-1])[::-1]
        repeated = [encode(llm, [prompt])[0] for prompt in (*PROMPTS[:3], *PROMPTS[:3], *PROMPTS[:3])]

    assert all(map(torch.equal, together, again))
    assert all(map(torch.equal, repeated, together[:3] * 3))            # short steps are recorded and made again


def test_bfloat16_states_are_near(bert):
    path, model = bert
    with engine(path, dtype="bfloat16") as llm:
        for ids, states in zip(PROMPTS, encode(llm, PROMPTS), strict=True):
            assert states.dtype == torch.float32
            assert F.cosine_similarity(states, token_states(model, ids)).min() > 0.999


def test_without_files_of_sentence_transformers_a_prompts_vector_is_its_first_state_scaled_to_length_1(tiny):
    path, model = tiny
    first = torch.stack([token_states(model, ids)[0] for ids in PROMPTS])
    with engine(path) as llm:
        assert torch.allclose(embed(llm, PROMPTS), F.normalize(first, dim=-1), atol=TOLERANCE)
        assert torch.allclose(embed(llm, PROMPTS, use_activation=False), first, atol=TOLERANCE)
        assert torch.allclose(embed(llm, PROMPTS, normalize=False), first, atol=TOLERANCE)


@pytest.mark.parametrize("mode", ["cls_token", "mean_tokens", "lasttoken"])
@pytest.mark.parametrize("normalize", [True, False])
def test_files_of_sentence_transformers_say_how_states_become_a_vector(tmp_path, mode, normalize):
    model = write_encoder(tmp_path)
    write_sentence_files(tmp_path, mode=mode, normalize=normalize)
    pick = {"cls_token": lambda s: s[0], "mean_tokens": lambda s: s.mean(0), "lasttoken": lambda s: s[-1]}[mode]
    expected = torch.stack([pick(token_states(model, ids)) for ids in PROMPTS])
    with engine(tmp_path) as llm:
        vectors, states = embed(llm, PROMPTS), encode(llm, PROMPTS[:1])[0]

    assert torch.allclose(vectors, F.normalize(expected, dim=-1) if normalize else expected, atol=TOLERANCE)
    assert torch.allclose(states, token_states(model, PROMPTS[0]), atol=TOLERANCE)     # states are not scaled unasked


def test_states_are_scaled_where_that_is_asked_for(bert):
    path, model = bert
    with engine(path) as llm:
        [states] = encode(llm, PROMPTS[2:3], use_activation=True)

    assert torch.allclose(states, F.normalize(token_states(model, PROMPTS[2]), dim=-1), atol=TOLERANCE)


@pytest.mark.parametrize("renamed", [
    lambda name: f"bert.{name}",
    lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
], ids=["prefix", "names of TensorFlow"])
def test_older_names_of_tensors_are_read(tmp_path, renamed):
    model = write_encoder(tmp_path)
    rename_tensors(tmp_path, renamed)
    with engine(tmp_path) as llm:
        assert torch.allclose(encode(llm, PROMPTS[3:4])[0], token_states(model, PROMPTS[3]), atol=TOLERANCE)


def test_a_checkpoint_without_the_pooler_that_nobody_uses_is_whole(tmp_path):
    model = write_encoder(tmp_path)
    model.pooler = None
    model.save_pretrained(tmp_path)
    with engine(tmp_path) as llm:
        assert torch.allclose(encode(llm, PROMPTS[3:4])[0], token_states(model, PROMPTS[3]), atol=TOLERANCE)


def test_a_missing_tensor_is_named(tmp_path):
    write_encoder(tmp_path)
    rename_tensors(tmp_path, lambda name: name.replace("layer.1.output.dense", "layer.1.output.other"))

    with pytest.raises(CheckpointError, match=r"encoder.layer.1.output.dense.weight"):
        engine(tmp_path)


def test_no_blocks_are_held_after_a_step_and_nothing_is_cached(bert):
    with engine(bert[0]) as llm:
        first, again = (llm.encode([PROMPTS[5]], use_tqdm=False)[0] for _ in range(2))
        stats = llm.stats

    assert (first.num_cached_tokens, again.num_cached_tokens) == (0, 0)
    assert (stats.kv_cache_usage, stats.prefix_cache_queries, stats.num_steps) == (0, 0, 2)


def test_prompts_that_do_not_fit_one_step_together_wait_for_the_next(bert):
    path, model = bert
    with engine(path, max_num_batched_tokens=MAX_LEN, max_num_seqs=4) as llm:
        for ids, states in zip(PROMPTS * 2, encode(llm, PROMPTS * 2), strict=True):
            assert torch.allclose(states, token_states(model, ids), atol=TOLERANCE)
        assert llm.stats.num_steps >= 4


def test_a_prompt_longer_than_a_step_is_refused_with_the_number(bert):
    with engine(bert[0], max_num_batched_tokens=32, max_num_seqs=4) as llm:
        assert llm.config.model.max_model_len == 32
        with pytest.raises(RequestError, match="prompt = 33: expected up to max_model_len = 32 tokens"):
            llm.encode(prompts(5, 33), use_tqdm=False)
        assert llm.stats.num_steps == 0
    with pytest.raises(ConfigError, match=r"max_model_len = 64: expected at most 32, max_num_batched_tokens\..*step"):
        engine(bert[0], max_num_batched_tokens=32, max_num_seqs=4, max_model_len=64)


def test_the_last_position_of_the_table_is_used_and_none_beyond_it(tiny):
    path, model = tiny
    with engine(path) as llm:
        assert llm.config.model.max_model_len == MAX_LEN
        assert torch.allclose(encode(llm, PROMPTS[-1:])[0], token_states(model, PROMPTS[-1]), atol=TOLERANCE)
        with pytest.raises(RequestError, match=f"max_model_len = {MAX_LEN}"):
            llm.encode(prompts(MAX_LEN + 1), use_tqdm=False)


def test_a_longer_context_than_there_are_positions_is_refused(tmp_path):
    write_encoder(tmp_path, "roberta")      # whose table has two rows more than positions

    with pytest.raises(ConfigError, match=f"max_model_len = {MAX_LEN + 1}: expected at most {MAX_LEN}, the positions"):
        engine(tmp_path, max_model_len=MAX_LEN + 1)


def test_max_seq_length_of_sentence_transformers_is_taken_unasked(tmp_path):
    write_encoder(tmp_path)
    write_sentence_files(tmp_path, max_seq_length=48)
    with engine(tmp_path) as llm:
        assert llm.config.model.max_model_len == 48
    with engine(tmp_path, max_model_len=100) as llm:
        assert llm.config.model.max_model_len == 100


@pytest.mark.parametrize(("files", "reason"), [
    ({"modules": ("BoW",)}, "BoW"), ({"mode": None}, "pooling_mode"),
])
def test_poolings_without_code_are_refused_when_the_engine_starts(tmp_path, files, reason):
    write_encoder(tmp_path)
    write_sentence_files(tmp_path, **files)

    with pytest.raises(ConfigError, match=reason):
        engine(tmp_path)


@pytest.mark.parametrize(("key", "value"), [
    ("position_embedding_type", "relative_key"), ("add_cross_attention", True)])
def test_what_would_change_the_numbers_is_refused(tmp_path, key, value):
    write_encoder(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))

    with pytest.raises(ConfigError, match=key):
        engine(tmp_path)


def test_an_encoder_does_not_generate_and_takes_no_embeddings(bert):
    with engine(bert[0], enable_prompt_embeds=True) as llm:
        with pytest.raises(RequestError, match=r"task = 'generate'.*tasks: embed, token_embed"):
            llm.generate([PROMPTS[0]], SamplingParams(detokenize=False), use_tqdm=False)
        with pytest.raises(RequestError, match="prompt_embeds"):
            llm.embed({"prompt_embeds": torch.zeros(2, 64)}, use_tqdm=False)


def test_the_runner_may_be_named_and_must_be_the_models(bert):
    with engine(bert[0], runner="pooling") as llm:
        assert encode(llm, PROMPTS[:1])
    with pytest.raises(ConfigError, match=r"runner = 'generate': expected auto or pooling. BertModel is for pooling"):
        engine(bert[0], runner="generate")


def test_drafts_for_a_model_that_generates_nothing_are_refused(bert):
    with pytest.raises(ConfigError, match=r"speculative_config = .*ngram.*None. BertModel generates no tokens"):
        engine(bert[0], speculative_config={"method": "ngram", "num_speculative_tokens": 2})


def test_states_that_are_no_numbers_fail_their_request_and_leave_the_others_alone(tmp_path):
    model = write_encoder(tmp_path)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[7] = torch.nan
    model.save_pretrained(tmp_path)
    with engine(tmp_path) as llm:
        good, bad = llm.encode([[5, 6, 8], [5, 7, 8]], use_tqdm=False)

    assert torch.allclose(good.outputs.data, token_states(model, [5, 6, 8]), atol=TOLERANCE)
    assert bad.outputs is None and "not numbers" in bad.error


def test_an_engine_in_a_child_process_gives_the_same(bert):
    path, model = bert
    llm = AsyncLLM.from_engine_args(EngineArgs(
        model=str(path), dtype="float32", skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False))

    async def one(ids: list[int]) -> Tensor:
        async for output in llm.encode(ids, None, f"request {len(ids)}"):
            return output.outputs.data

    async def main() -> list[Tensor]:
        return await asyncio.gather(*map(one, PROMPTS))

    try:
        found = asyncio.run(main())
    finally:
        llm.shutdown()
    for ids, states in zip(PROMPTS, found, strict=True):
        assert torch.allclose(states, token_states(model, ids), atol=TOLERANCE)
