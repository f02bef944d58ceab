"""A decoder pooled at its last token computes prompts in chunks, reads the prefix cache, and may be sent back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encoders import prompts, token_states
from tiny_poolers import GROUPED, engine, write_model
from torch import Tensor, nn

from weft import PoolingParams
from weft.architectures.spec import PoolerSpec
from weft.engine.pooling import Pooling
from weft.engine.process.messages import EngineRequest
from weft.engine.process.wire_tensor import from_wire
from weft.engine.sequence import Sequence
from weft.engine.step_plan import Scheduled
from weft.engine.step_results import SequenceResult
from weft.errors import RequestError
from weft.layers.pooler import Pooler

TOLERANCE = 1e-4      # of a state around 1; chunks change the order of float32 sums on the reference path only
PROMPTS = prompts(1, 16, 17, 40, 100)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("llama")
    return path, write_model(path, "LlamaModel", **GROUPED)


def last(llm, wanted: list[list[int]], **params: object) -> list[Tensor]:
    outputs = llm.embed(wanted, pooling_params=PoolingParams(use_activation=False, **params), use_tqdm=False)
    return [torch.tensor(output.outputs.embedding) for output in outputs]


def test_a_prompt_that_begins_as_another_is_computed_from_where_they_part(llama):
    path, model = llama
    longer = [PROMPTS[4] + more for more in prompts(3, 20)]
    with engine(path, max_num_batched_tokens=32, max_num_seqs=4) as llm:
        [first] = llm.embed([PROMPTS[4]], use_tqdm=False)
        again = llm.embed(longer, use_tqdm=False)
        found = last(llm, longer)
        same = llm.embed([PROMPTS[4]], use_tqdm=False)[0]

    assert first.num_cached_tokens == 0 and [output.num_cached_tokens for output in again] == [96, 96]
    assert same.num_cached_tokens == 96 and same.outputs.embedding == pytest.approx(first.outputs.embedding, abs=1e-6)
    for ids, vector in zip(longer, found, strict=True):
        assert torch.allclose(vector, token_states(model, ids)[-1], atol=TOLERANCE)


def test_tasks_of_tokens_compute_the_whole_prompt_whatever_is_cached(llama):
    path, model = llama
    with engine(path, max_num_batched_tokens=32, max_num_seqs=4) as llm:
        llm.embed([PROMPTS[4]], use_tqdm=False)
        [states] = llm.encode([PROMPTS[4]], use_tqdm=False)
        [skipped] = llm.embed([PROMPTS[4]], pooling_params=PoolingParams(skip_reading_prefix_cache=True),
                              use_tqdm=False)
        wrong = pytest.raises(RequestError, match=r"skip_reading_prefix_cache = False.*token_embed needs every token")
        with wrong:
            llm.encode([PROMPTS[4]], PoolingParams(skip_reading_prefix_cache=False), use_tqdm=False)

    assert (states.num_cached_tokens, skipped.num_cached_tokens) == (0, 0)
    assert torch.allclose(states.outputs.data, token_states(model, PROMPTS[4]), atol=TOLERANCE)


def test_prompts_wait_for_blocks_and_are_computed_as_any(llama):
    path, model = llama
    wanted = prompts(100, 101, 102, 103)
    with engine(path, max_num_batched_tokens=16, max_num_seqs=4, max_model_len=112,
                kv_cache_memory_bytes=9 * 16 * 3 * 2 * 2 * 16 * 4) as llm:
        outputs = llm.encode(wanted, use_tqdm=False)
        assert llm.stats.num_steps > 24                  # one after another, seven steps each

    for ids, output in zip(wanted, outputs, strict=True):
        assert torch.allclose(output.outputs.data, token_states(model, ids), atol=TOLERANCE)


def test_rows_of_a_sequence_that_goes_back_are_given_once():
    """After a preemption a sequence begins again; after a step that failed a chunk is computed again."""
    pooling = Pooling(Pooler(PoolerSpec(pooling=("last",)), 2))
    request = EngineRequest(request_id="a", prompt_token_ids=[5] * 6, eos_token_ids=[], arrival_time=0,
                            params=PoolingParams(task="token_embed"))
    seq, rows = Sequence(request), torch.arange(12.0).view(6, 2)

    def pool(start: int, end: int) -> SequenceResult:
        result = SequenceResult()
        pooling.pool(Scheduled(seq, end - start, start, 0), rows[start:end], result)
        return result

    before = [pool(*part).pooled for part in ((0, 2), (2, 4), (0, 3), (3, 5), (3, 5))]
    last = pool(5, 6)

    assert before == [None] * 5 and torch.equal(from_wire(last.pooled), rows)
    assert torch.equal(from_wire(pool(0, 6).pooled), rows)


def test_with_native_kernels_a_vector_is_bitwise_the_same_in_any_company_and_chunks(llama):
    with engine(llama[0]) as whole, engine(llama[0], max_num_batched_tokens=16, max_num_seqs=4) as chunked:
        together, alone = last(whole, PROMPTS), [last(whole, [ids])[0] for ids in PROMPTS]
        in_chunks = last(chunked, PROMPTS)

    assert all(map(torch.equal, together, alone)) and all(map(torch.equal, together, in_chunks))
