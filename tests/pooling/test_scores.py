"""Scores of pairs: cosines of vectors, and a cross-encoder's answer as Transformers gives it for the pair."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_encoders import MAX_LEN, write_encoder, write_sentence_files
from tiny_poolers import GROUPED, logits_of, write_model
from word_tokenizer import save_word_tokenizer

from weft import LLM, AsyncLLM, EngineArgs, PoolingParams
from weft.errors import RequestError
from weft.frontend.prompts import PairPrompt

QUERY, TEXTS = "w1 w2 w3", ["w4 w5", "w1 w2 w6 w7 w8 w9", "w3"]
TOLERANCE = 1e-5


def engine(path: Path, **options: object) -> LLM:
    return LLM(**({"model": str(path), "dtype": "float32", "num_threads": 1, "use_tqdm_on_load": False} | options))


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    """A cross-encoder in BERT's form: (its path, Transformers' model, Transformers' tokenizer)."""
    path = tmp_path_factory.mktemp("cross")
    model = write_model(path, "BertForSequenceClassification", num_labels=1, max_position_embeddings=MAX_LEN)
    return path, model, save_word_tokenizer(path)


def wanted(cross, first: str, second: str, **options: object) -> float:
    _, model, tokenizer = cross
    with torch.inference_mode():
        return float(model(**tokenizer(first, second, return_tensors="pt", **options)).logits.sigmoid())


def scores(outputs) -> list[float]:
    return [output.outputs.score for output in outputs]


def test_a_cross_encoder_scores_pairs_with_their_token_types_as_transformers_does(cross):
    with engine(cross[0]) as llm:
        one_to_one, one_to_many = llm.score(QUERY, TEXTS[0], use_tqdm=False), llm.score(QUERY, TEXTS, use_tqdm=False)
        paired = llm.score(TEXTS, TEXTS[::-1], use_tqdm=False)

    assert scores(one_to_one) == pytest.approx([wanted(cross, QUERY, TEXTS[0])], abs=TOLERANCE)
    assert scores(one_to_many) == pytest.approx([wanted(cross, QUERY, text) for text in TEXTS], abs=TOLERANCE)
    assert scores(paired) == pytest.approx([wanted(cross, *pair) for pair in zip(TEXTS, TEXTS[::-1], strict=True)],
                                           abs=TOLERANCE)


def test_token_types_reach_a_model_of_transformers_that_is_wired(cross):
    with engine(cross[0], model_impl="transformers") as llm:
        level = llm.apply_model(lambda model: model.level)
        found = llm.score(QUERY, TEXTS, use_tqdm=False)

    assert level[0].startswith("wired")
    assert scores(found) == pytest.approx([wanted(cross, QUERY, text) for text in TEXTS], abs=TOLERANCE)


def test_token_types_reach_a_model_of_transformers_that_runs_unmodified(tmp_path):
    model = write_model(tmp_path, "FNetForSequenceClassification", num_labels=1, max_position_embeddings=MAX_LEN,
                        type_vocab_size=2, use_tpu_fourier_optimizations=False)
    tokenizer = save_word_tokenizer(tmp_path)
    with engine(tmp_path) as llm:
        level = llm.apply_model(lambda model: model.level)
        found = llm.score(QUERY, TEXTS, use_tqdm=False)

    assert level == ["own cache"]
    expected = []
    for text in TEXTS:
        pair = tokenizer(QUERY, text, return_tensors="pt")
        with torch.inference_mode():
            logits = model(input_ids=pair["input_ids"], token_type_ids=pair["token_type_ids"]).logits
        expected.append(float(logits.sigmoid()))
    assert scores(found) == pytest.approx(expected, abs=TOLERANCE)


def test_token_types_change_a_score_and_may_be_given_with_ids(cross):
    path, model, tokenizer = cross
    pair = tokenizer(QUERY, TEXTS[1])
    ids, types = pair["input_ids"], pair["token_type_ids"]
    prompts = [{"prompt_token_ids": ids, "token_type_ids": types}, {"prompt_token_ids": ids}]
    with engine(path) as llm:
        typed, plain = (output.outputs.probs for output in llm.classify(prompts, use_tqdm=False))

    assert typed == pytest.approx(logits_of(model, ids, token_type_ids=types).sigmoid().tolist(), abs=TOLERANCE)
    assert plain == pytest.approx(logits_of(model, ids).sigmoid().tolist(), abs=TOLERANCE)
    assert abs(typed[0] - plain[0]) > 1e-3


@pytest.mark.parametrize(("types", "said"), [
    ([0, 1], "a list of 3 integers"), ([0, 1, -1], "a list of 3 integers"), ([0, 1, 2], "types from 0 to 1")])
def test_token_types_that_cannot_be_are_refused(cross, types, said):
    with engine(cross[0]) as llm, pytest.raises(RequestError, match=rf"token_type_ids = .*{said}"):
        llm.classify({"prompt_token_ids": [5, 6, 7], "token_type_ids": types}, use_tqdm=False)


@pytest.mark.parametrize("limit", [6, 7, 8])
def test_a_pair_that_is_too_long_is_cut_at_the_longer_text_first(cross, limit):
    with engine(cross[0]) as llm:
        found = llm.score(QUERY, TEXTS[1], tokenization_kwargs={"truncate_prompt_tokens": limit}, use_tqdm=False)
        with pytest.raises(RequestError, match=f"max_model_len = {MAX_LEN}"):
            llm.score(QUERY, " ".join(["w1"] * MAX_LEN), use_tqdm=False)

    expected = wanted(cross, QUERY, TEXTS[1], truncation=True, max_length=limit)
    assert len(found[0].prompt_token_ids) == limit
    assert scores(found) == pytest.approx([expected], abs=TOLERANCE)


def test_a_pair_without_tokens_is_refused(cross):
    with engine(cross[0]) as llm, pytest.raises(RequestError, match=r"prompt = .*two texts with at least one token"):
        llm.score(" ", " ", tokenization_kwargs={"add_special_tokens": False}, use_tqdm=False)


def test_a_bi_encoder_scores_by_the_cosine_of_the_vectors(tmp_path):
    model, _ = write_encoder(tmp_path), write_sentence_files(tmp_path, mode="mean_tokens", normalize=False)
    tokenizer = save_word_tokenizer(tmp_path)

    def vector(text: str) -> torch.Tensor:
        with torch.inference_mode():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)

    with engine(tmp_path) as llm:
        found = llm.score(QUERY, TEXTS, use_tqdm=False)
        same = llm.score(QUERY, QUERY, use_tqdm=False)

    assert scores(found) == pytest.approx([float(F.cosine_similarity(vector(QUERY), vector(text), dim=0))
                                           for text in TEXTS], abs=TOLERANCE)
    assert scores(same) == pytest.approx([1.0], abs=TOLERANCE)
    assert found[1].prompt_token_ids == tokenizer(QUERY)["input_ids"] + tokenizer(TEXTS[1])["input_ids"]


def test_late_interaction_sums_the_best_match_of_each_token_of_the_first_text(tmp_path):
    model, tokenizer = write_encoder(tmp_path), save_word_tokenizer(tmp_path)
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(3))
    (tmp_path / "1_Dense").mkdir()
    (tmp_path / "1_Dense" / "config.json").write_text(json.dumps({
        "in_features": 64, "out_features": 16, "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity"}))
    save_file({"linear.weight": weight}, tmp_path / "1_Dense" / "model.safetensors")
    (tmp_path / "modules.json").write_text(json.dumps([
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Dense", "type": "pylate.models.Dense.Dense"}]))

    def rows(text: str) -> torch.Tensor:
        with torch.inference_mode():
            return F.normalize(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] @ weight.T, dim=-1)

    with engine(tmp_path) as llm:
        found = llm.score(QUERY, TEXTS, use_tqdm=False)

    assert scores(found) == pytest.approx([float((rows(QUERY) @ rows(text).T).amax(1).sum()) for text in TEXTS],
                                          abs=1e-4)


@pytest.mark.parametrize(("first", "second", "said"), [
    (TEXTS, TEXTS[:2], r"data_1 = '3 texts': expected one text, or as many as data_2 has. data_2 has 2"),
    ([], TEXTS, "data_1 = "), ("", TEXTS, "data_1 = "), (QUERY, [3], "data_2 = ")])
def test_texts_that_make_no_pairs_are_refused(cross, first, second, said):
    with engine(cross[0]) as llm, pytest.raises(RequestError, match=said):
        llm.score(first, second, use_tqdm=False)


def test_models_that_compare_no_texts_say_why(tmp_path):
    write_model(tmp_path, "LlamaForSequenceClassification", num_labels=3, **GROUPED)
    save_word_tokenizer(tmp_path)
    with engine(tmp_path) as llm, pytest.raises(RequestError, match=r"tasks: classify, token_classify, with 3 labels"):
        llm.score(QUERY, TEXTS, use_tqdm=False)


TEMPLATE = "w7 {% for m in messages if m.role == 'query' %}{{ m.content }}{% endfor %} w8 {{ messages[1].content }}"


def test_a_template_says_how_a_pair_is_written(cross):
    path, model, tokenizer = cross
    with engine(path) as llm:
        found = llm.score(QUERY, TEXTS, chat_template=TEMPLATE, use_tqdm=False)

    for output, text in zip(found, TEXTS, strict=True):
        ids = tokenizer(f"w7 {QUERY} w8 {text}")["input_ids"]
        assert output.prompt_token_ids == ids
        assert output.outputs.score == pytest.approx(logits_of(model, ids).sigmoid().item(), abs=TOLERANCE)


def test_a_template_for_a_model_that_reads_no_pairs_is_refused(tmp_path):
    write_encoder(tmp_path)
    save_word_tokenizer(tmp_path)
    with engine(tmp_path) as llm, pytest.raises(RequestError, match=r"chat_template = .*bi-encoder"):
        llm.score(QUERY, TEXTS, chat_template=TEMPLATE, use_tqdm=False)


def test_logits_of_a_pair_are_given_where_that_is_asked_for(cross):
    with engine(cross[0]) as llm:
        [raw] = llm.score(QUERY, TEXTS[0], pooling_params=PoolingParams(use_activation=False), use_tqdm=False)

    assert torch.tensor(raw.outputs.score).sigmoid().item() == pytest.approx(wanted(cross, QUERY, TEXTS[0]), abs=1e-5)


def test_an_engine_in_a_child_process_gives_the_same(cross):
    async def score() -> list[float]:
        llm = AsyncLLM.from_engine_args(EngineArgs(model=str(cross[0]), dtype="float32", num_threads=1))
        try:
            outputs = [output for i, text in enumerate(TEXTS)
                       async for output in llm.encode(PairPrompt(QUERY, text), PoolingParams(task="classify"), str(i))]
        finally:
            llm.shutdown()
        return [float(output.outputs.data) for output in outputs]

    assert asyncio.run(score()) == pytest.approx([wanted(cross, QUERY, text) for text in TEXTS], abs=TOLERANCE)
