"""The memory plan fits what the user left open and refuses, with numbers, what the user set and cannot be had."""

import dataclasses

import pytest
from machines import made_machine
from made_config import made_config

from weft.architectures.names import NameMap
from weft.architectures.spec import (
    AttentionSpec,
    BlockSpec,
    Causal,
    DecoderSpec,
    EmbeddingSpec,
    HeadSpec,
    MLPSpec,
    RMSNorm,
    SlidingWindow,
)
from weft.cache.need import CacheNeed, StateNeed, TokensNeed
from weft.config.speculative import SpeculativeConfig
from weft.engine.memory.plan import plan_memory
from weft.errors import MemoryPlanError
from weft.models.build import layer_context
from weft.models.described import Described

NORM = RMSNorm(eps=1e-6)
TOKEN_BYTES = 2 * 2 * 8 * 4  # k and v, two heads of eight float32, one layer


def spec(*windows):
    def block(window):
        mask = Causal() if window is None else SlidingWindow(window=window)
        mixer = AttentionSpec(num_heads=4, num_kv_heads=2, head_dim=8, scale=1.0, positions=None, mask=mask)
        return BlockSpec(
            mixer=mixer, ffn=MLPSpec(intermediate_size=32, act="silu", gated=True), mixer_norm=NORM, ffn_norm=NORM
        )

    return DecoderSpec(
        hidden_size=16,
        vocab_size=100,
        max_position=1024,
        embedding=EmbeddingSpec(vocab_size=100),
        blocks=tuple(map(block, windows)),
        final_norm=NORM,
        head=HeadSpec(tied=True),
        names=NameMap(rules=()),
    )


def config(*, kv_bytes=None, utilization=1.0, **options):
    return made_config(kv_cache_memory_bytes=kv_bytes, memory_utilization=utilization, **options)


def plan_of(spec, config, machine):
    return plan_memory(Described(spec, None, None, {}, layer_context(config)), config, machine)


def machine(num_bytes=1 << 40):
    return made_machine(memory_bytes=num_bytes, available_bytes=num_bytes)


def test_with_memory_to_spare_every_sequence_gets_its_whole_context():
    plan = plan_of(spec(None, None), config(), machine())

    assert plan.num_blocks == (4 * 1024 // 16,)
    assert plan.kv_cache_bytes == 4 * 1024 * 2 * TOKEN_BYTES
    assert plan.max_model_len == 1024


def test_a_window_group_gets_no_more_than_its_windows_need():
    plan = plan_of(spec(None, 32), config(), machine())

    full, window = plan.num_blocks
    assert [group.window for group in plan.groups] == [None, 32]
    assert full == 256
    assert window < 30  # 4 sequences of 2 to 4 blocks, and one step of 4 blocks


def test_a_given_cache_size_is_kept_and_the_context_fitted_into_it():
    plan = plan_of(spec(None), config(kv_bytes=10 * 16 * TOKEN_BYTES), machine())

    assert plan.num_blocks == (10,)
    assert plan.max_model_len == 160


def test_a_set_context_that_does_not_fit_is_refused_with_the_largest_that_does():
    with pytest.raises(
        MemoryPlanError, match=r"max_model_len = 1024 needs \d+ bytes.*largest max_model_len that fits is 160"
    ):
        plan_of(spec(None), config(kv_bytes=10 * 16 * TOKEN_BYTES, fixed=True), machine())


def test_a_cache_larger_than_the_memory_is_refused_with_the_largest_that_fits():
    with pytest.raises(MemoryPlanError, match=r"kv_cache_memory_bytes = 1099511627776.*largest value that fits is \d+"):
        plan_of(spec(None), config(kv_bytes=1 << 40), machine(1 << 28))


def test_a_model_larger_than_the_memory_is_refused_with_need_and_have():
    with pytest.raises(MemoryPlanError, match=r"for weights and .* there are 1\.00 KiB"):
        plan_of(spec(None), config(), machine(1024))


def test_a_cache_smaller_than_a_block_is_refused():
    with pytest.raises(MemoryPlanError, match=f"give at least {16 * TOKEN_BYTES} bytes"):
        plan_of(spec(None), config(kv_bytes=100), machine())


def test_utilization_is_the_share_of_the_available_memory():
    plan = plan_of(spec(None), config(utilization=0.5), machine(1 << 30))

    assert plan.limit_bytes == 1 << 29
    assert plan.total_bytes <= plan.limit_bytes
    assert "0.5 of 1.00 GiB" in plan.limit_source


def test_the_parts_add_up():
    plan = plan_of(spec(None), config(), machine())

    assert plan.total_bytes == (
        plan.weight_bytes + plan.activation_bytes + plan.kv_cache_bytes + plan.scratch_bytes
    )
    assert dataclasses.asdict(plan)["weight_bytes"] > 0


@dataclasses.dataclass
class CacheLayer:
    need: CacheNeed


@dataclasses.dataclass
class Built:
    """As much of a built model as the plan asks for, with layers of these needs."""

    caches: list[CacheLayer]
    encoder = num_positions = pooler = None

    def weight_bytes(self):
        return 1000

    def step_bytes(self, limits):
        return 100

    def bytes_per_cached_token(self):
        return 0.5


def built(*needs):
    return Built([CacheLayer(need) for need in needs])


def test_a_model_without_caches_has_its_whole_context_and_no_blocks():
    plan = plan_memory(built(), config(fixed=True), machine())

    assert (plan.num_blocks, plan.kv_cache_bytes, plan.max_model_len, plan.num_cache_tokens) == ((), 0, 1024, 0)


def test_states_limit_how_many_sequences_run_and_not_how_long_they_are():
    plan = plan_memory(built(StateNeed(700), StateNeed(300)), config(fixed=True, kv_bytes=4_500), machine())

    assert (plan.num_blocks, plan.kv_cache_bytes, plan.max_model_len) == ((4,), 4_000, 1024)


def test_too_few_bytes_for_one_sequences_states_are_refused_with_what_it_takes():
    with pytest.raises(MemoryPlanError, match="do not hold the shortest sequence: give at least 2000 bytes"):
        plan_memory(built(StateNeed(1000)), config(kv_bytes=1_999), machine())


def test_a_hybrids_set_context_counts_the_states_of_one_sequence():
    hybrid = built(StateNeed(1000), TokensNeed(10))

    assert plan_memory(hybrid, config(fixed=True, kv_bytes=2_000 + 10_240), machine()).num_blocks == (2, 64)
    with pytest.raises(MemoryPlanError, match=r"1024 needs 12240 bytes of cache; there are 12239.*that fits is 1008"):
        plan_memory(hybrid, config(fixed=True, kv_bytes=2_000 + 10_239), machine())


def test_each_draft_of_each_sequence_may_get_a_row_of_logits():
    drafts = SpeculativeConfig(method="ngram", num_speculative_tokens=5, prompt_lookup_min=4, prompt_lookup_max=4)

    plain, drafting = (plan_of(spec(None), dataclasses.replace(config(), speculative=speculative), machine())
                       for speculative in (None, drafts))
    few = plan_of(spec(None), dataclasses.replace(config(tokens=10), speculative=drafts), machine())

    assert drafting.activation_bytes - plain.activation_bytes == 3 * (4 * 5) * 100 * 4    # torch: three copies of a row
    assert few.activation_bytes < drafting.activation_bytes                               # no more rows than tokens
