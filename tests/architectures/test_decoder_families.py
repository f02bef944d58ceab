"""More families' tiny models give Transformers' tokens and log-probabilities, however the engine cuts the work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from against_transformers import TinyModel, check_chunks_and_cached_prefixes, check_whole_prompts, unread
from tiny_decoders import DECODERS
from tiny_models import write_checkpoint

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.errors import ConfigError


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


@pytest.mark.parametrize("counts", [[2], [2, 0], [2, 7]])
def test_counts_of_experts_by_layer_that_do_not_fit_are_refused(counts: list[int]):
    config = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
              "vocab_size": 100, "hidden_act": "silu", "num_experts": 6, "moe_topk": counts}

    with pytest.raises(ConfigError, match="moe_topk"):
        families()["HunYuanMoEV1ForCausalLM"].describe(ConfigReader(config))
