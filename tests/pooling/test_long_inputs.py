"""Texts longer than the context are embedded in parts, averaged by their tokens, where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_encoders import MAX_LEN, prompts, token_states, write_encoder
from tiny_poolers import engine
from torch import Tensor, nn

from weft import PoolingParams
from weft.errors import RequestError

TOLERANCE = 2e-5
LONG, SHORT = prompts(3 * MAX_LEN + 5, 20)
IN_PARTS = {"enable_chunked_processing": True, "pooling_type": "MEAN"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("bert")
    return path, write_encoder(path)


def mean_of_parts(model: nn.Module) -> Tensor:
    parts = [LONG[start : start + MAX_LEN] for start in range(0, len(LONG), MAX_LEN)]
    return torch.cat([token_states(model, part) for part in parts]).mean(0)


def test_the_parts_vectors_are_averaged_by_their_tokens_and_scaled_once(bert):
    path, model = bert
    with engine(path, pooler_config=IN_PARTS) as llm:
        long, short = llm.embed([LONG, SHORT], use_tqdm=False)
        [raw] = llm.embed([LONG], pooling_params=PoolingParams(use_activation=False), use_tqdm=False)

    expected = mean_of_parts(model)
    assert len(long.prompt_token_ids) == len(LONG)
    assert torch.allclose(torch.tensor(raw.outputs.embedding), expected, atol=TOLERANCE)
    assert torch.allclose(torch.tensor(long.outputs.embedding), F.normalize(expected, dim=-1), atol=TOLERANCE)
    assert torch.allclose(torch.tensor(short.outputs.embedding),
                          F.normalize(token_states(model, SHORT).mean(0), dim=-1), atol=TOLERANCE)


def test_without_the_setting_or_for_other_tasks_or_beyond_the_limit_a_long_text_is_refused(bert):
    too_long = pytest.raises(RequestError, match=f"prompt = {len(LONG)}: expected up to max_model_len = {MAX_LEN}")
    with engine(bert[0]) as llm, too_long:
        llm.embed([LONG], use_tqdm=False)
    with engine(bert[0], pooler_config=IN_PARTS | {"max_embed_len": 200}) as llm:
        with pytest.raises(RequestError, match="max_embed_len = 200"):
            llm.embed([LONG], use_tqdm=False)
        with pytest.raises(RequestError, match=f"max_model_len = {MAX_LEN}"):
            llm.encode([LONG], use_tqdm=False)


def test_a_text_of_which_a_part_fails_has_an_error_and_no_vector(tmp_path):
    model = write_encoder(tmp_path)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[7] = torch.nan
    model.save_pretrained(tmp_path)
    broken = [*LONG[:MAX_LEN], 7, *LONG[MAX_LEN + 1:]]
    with engine(tmp_path, pooler_config=IN_PARTS, max_num_batched_tokens=MAX_LEN, max_num_seqs=4) as llm:
        failed, fine = llm.embed([broken, [token for token in SHORT if token != 7]], use_tqdm=False)
        assert not llm._engine.client.has_unfinished

    assert failed.outputs is None and "not numbers" in failed.error
    assert len(fine.outputs.embedding) == 64
