"""A sequence: what its blocks' contents depend on besides token ids, and how one that is pooled differs."""

from __future__ import annotations

import numpy as np
import pytest

from weft.engine.process.messages import NO_TOKEN, EngineRequest, WireTensor
from weft.engine.sequence import Sequence
from weft.pooling_params import PoolingParams
from weft.sampling_params import SamplingParams


def make(num_prompt_tokens: int = 6, *, params=None, **fields) -> Sequence:
    params = SamplingParams(max_tokens=4) if params is None else params
    request = {"request_id": "r", "prompt_token_ids": list(range(num_prompt_tokens)), "params": params,
               "eos_token_ids": [9], "arrival_time": 0.0} | fields
    return Sequence(EngineRequest(**request))


def of_rows(rows: np.ndarray, **fields) -> Sequence:
    tensor = WireTensor("float32", list(rows.shape), rows.tobytes())
    return make(prompt_token_ids=[NO_TOKEN] * len(rows), prompt_embeds=tensor, **fields)


def test_a_prompt_of_ids_without_a_salt_has_no_extras():
    assert make().key_extras(0, 4) == b""


def test_a_salt_counts_in_the_first_block_only_and_an_empty_one_is_not_none():
    assert make(cache_salt="team").key_extras(0, 4) != b""
    assert make(cache_salt="team").key_extras(4, 8) == b""
    assert make(cache_salt="").key_extras(0, 4) != b""


def test_a_salt_that_is_not_valid_unicode_has_extras_too():
    assert make(cache_salt="\ud800").key_extras(0, 4)


def test_rows_of_embeddings_count_in_the_blocks_they_lie_in():
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    changed = rows.copy()
    changed[4, 1] += 1
    one, other = of_rows(rows), of_rows(changed)

    assert one.key_extras(0, 4) == other.key_extras(0, 4) != b""
    assert one.key_extras(4, 8) != other.key_extras(4, 8)          # two rows of the prompt, then generated tokens
    assert one.key_extras(8, 12) == b""


def test_the_encoders_input_counts_in_the_first_block():
    one, other = make(encoder_token_ids=[5, 6]), make(encoder_token_ids=[5, 7])

    assert one.num_encoder_tokens == 2
    assert one.key_extras(0, 4) != other.key_extras(0, 4) != b""
    assert one.key_extras(4, 8) == b""


def test_no_salt_can_be_taken_for_rows():
    rows = of_rows(np.ones((4, 2), dtype=np.float32))
    imitation = make(cache_salt=rows.key_extras(0, 4).decode("latin-1"))

    assert imitation.key_extras(0, 4) != rows.key_extras(0, 4)


def test_a_pooled_sequence_stores_all_of_its_prompt_and_no_answer():
    pooled, continued = make(params=PoolingParams(task="embed")), make()

    assert (pooled.max_len, pooled.max_stored_len) == (6, 6)
    assert (continued.max_len, continued.max_stored_len) == (10, 9)


@pytest.mark.parametrize(("params", "reads"), [
    (PoolingParams(task="token_embed"), False), (SamplingParams(prompt_logprobs=1), False), (SamplingParams(), True),
])
def test_what_needs_every_position_does_not_read_the_prefix_cache(params, reads):
    assert make(params=params).reads_prefix_cache is reads
