"""SPLADE: a vector has a weight for each token of the vocabulary, from the head of a masked language model."""

from __future__ import annotations

import json

import pytest
import torch
from sparse_models import KINDS, write_m3, write_splade
from tiny_encoders import MAX_LEN, prompts
from tiny_poolers import engine, write_model
from torch import Tensor
from torch.nn import functional as F

from weft import PoolingParams
from weft.errors import CheckpointError, NotBuiltError

FUNCTIONS = {"relu": lambda x: x.relu().log1p(), "log1p_relu": lambda x: x.relu().log1p().log1p()}


def logits_of(model, token_ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return model(torch.tensor([token_ids])).logits[0]


def vectors(llm, given: list[list[int]], **params) -> Tensor:
    outputs = llm.embed([{"prompt_token_ids": ids} for ids in given], pooling_params=PoolingParams(**params),
                        use_tqdm=False)
    return torch.tensor([output.outputs.embedding for output in outputs])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_the_largest_of_the_tokens_logits(tmp_path, kind):
    model, given = write_splade(tmp_path, kind), prompts(5, 17, 100)

    found = vectors(engine(tmp_path), given)

    wanted = torch.stack([FUNCTIONS["relu"](logits_of(model, ids)).amax(dim=0) for ids in given])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert (found == 0).any() and (found > 0).any()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_weights_are_sums_where_the_files_say_so(tmp_path, function):
    model, given = write_splade(tmp_path, strategy="sum", function=function, tied=False), prompts(5, 100)

    found = vectors(engine(tmp_path), given)

    wanted = torch.stack([FUNCTIONS[function](logits_of(model, ids)).sum(dim=0) for ids in given])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_tasks_of_tokens_give_states_and_vectors_can_be_scaled(tmp_path):
    model, (ids,) = write_splade(tmp_path), prompts(9)
    llm = engine(tmp_path)

    states = llm.encode([{"prompt_token_ids": ids}], pooling_task="token_embed", use_tqdm=False)[0].outputs.data
    unit = vectors(llm, [ids], use_activation=True)

    with torch.inference_mode():
        torch.testing.assert_close(states, model.bert(torch.tensor([ids])).last_hidden_state[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(1))


def test_a_family_without_a_known_head_is_refused(tmp_path):
    write_splade(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"architectures": ["ElectraModel"], "model_type": "electra", "embedding_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(NotBuiltError, match="SpladePooling"):
        engine(tmp_path)


@pytest.mark.proves("tested", None, "BertSpladeSparseEmbeddingModel")
@pytest.mark.proves("pooling", None, "BertSpladeSparseEmbeddingModel")
def test_splade_by_its_name_leaves_out_the_marks_that_the_config_names(tmp_path):
    model = write_splade(tmp_path)
    (tmp_path / "modules.json").unlink()
    overrides = {"architectures": ["BertSpladeSparseEmbeddingModel"], "cls_token_id": 5, "sep_token_id": 6}
    llm, given = engine(tmp_path, hf_overrides=overrides), [[5, 20, 30, 6], [20, 5, 6, 30], [5, 6]]

    found = vectors(llm, given)

    kept = [slice(1, 3), slice(0, 4)]
    wanted = [FUNCTIONS["relu"](logits_of(model, ids)[part]).amax(0) for ids, part in zip(given, kept, strict=False)]
    torch.testing.assert_close(found[:2], torch.stack(wanted), rtol=1e-4, atol=1e-5)
    assert (found[2] == 0).all()


@pytest.fixture(scope="module")
def m3(tmp_path_factory):
    """(BGE-M3 in small, Transformers' body, its two layers)."""
    path = tmp_path_factory.mktemp("m3")
    model, layers = write_m3(path)
    llm = engine(path, hf_overrides={"architectures": ["BgeM3EmbeddingModel"]})
    return llm, model, layers["colbert_linear"], layers["sparse_linear"]


M3_PROMPT = [0, 20, 30, 40, 2]


@pytest.mark.proves("tested", None, "BgeM3EmbeddingModel")
@pytest.mark.proves("pooling", None, "BgeM3EmbeddingModel")
def test_bge_m3_gives_a_vector_of_the_prompt(m3):
    llm, model, *_ = m3

    found = vectors(llm, [M3_PROMPT])

    with torch.inference_mode():
        state = model(torch.tensor([M3_PROMPT])).last_hidden_state[0, 0]
    torch.testing.assert_close(found[0], F.normalize(state, dim=0), rtol=1e-4, atol=1e-5)


def test_bge_m3_gives_vectors_and_weights_of_the_tokens(m3):
    llm, model, colbert, sparse = m3
    with torch.inference_mode():
        states = model(torch.tensor([M3_PROMPT])).last_hidden_state[0]
        vectors_wanted, weights = F.normalize(colbert(states[1:]), dim=-1), sparse(states[1:-1]).relu()

    rows = {task: llm.encode([{"prompt_token_ids": M3_PROMPT}], pooling_task=task, use_tqdm=False)[0].outputs.data
            for task in ("token_embed", "token_classify")}

    torch.testing.assert_close(rows["token_embed"], vectors_wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows["token_classify"], weights, rtol=1e-4, atol=1e-5)


def test_bge_m3_gives_vector_and_weights_in_one(m3):
    llm = m3[0]
    tasks = ("embed", "token_classify", "embed&token_classify")
    vector, weights, both = (llm.encode([{"prompt_token_ids": M3_PROMPT}], pooling_task=task, use_tqdm=False)[0]
                             .outputs.data for task in tasks)

    torch.testing.assert_close(both, torch.cat([vector, weights.flatten()]))


def test_bge_m3_without_a_layers_file_is_refused(tmp_path):
    write_model(tmp_path, "XLMRobertaModel", max_position_embeddings=MAX_LEN + 2, pad_token_id=1)

    with pytest.raises(CheckpointError, match="colbert_linear"):
        engine(tmp_path, hf_overrides={"architectures": ["BgeM3EmbeddingModel"]})
