"""More families' tiny models give Transformers' tokens and log-probabilities, however the engine cuts the work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from against_transformers import TinyModel, check_chunks_and_cached_prefixes, check_whole_prompts, unread
from tiny_decoders import DECODERS
from tiny_models import write_checkpoint


@pytest.fixture(scope="module", params=DECODERS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyModel]:
    path = tmp_path_factory.mktemp(request.param)
    model = write_checkpoint(DECODERS[request.param], path)
    yield TinyModel(path, lambda ids: model(ids, use_cache=False).logits)


def test_every_key_that_transformers_writes_is_read_or_known_to_be_harmless(tiny: TinyModel):
    assert unread(tiny) == {}


@pytest.mark.proves("tested", "tiny", DECODERS)
def test_prompt_and_greedy_tokens_have_the_expected_logprobs(tiny: TinyModel):
    check_whole_prompts(tiny)


def test_chunks_of_seven_tokens_and_cached_prefixes_change_nothing(tiny: TinyModel):
    check_chunks_and_cached_prefixes(tiny)
