"""Models with states (Mamba, hybrids) give Transformers' tokens, whatever happens to a request on its way.

The comparison is that of against_transformers.py. Blocks are of one token here, so that states are kept every 16.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from against_transformers import PROMPT_LENGTHS, TinyModel, check, generate
from held_weights import planned_and_held
from tiny_hybrids import HYBRID_VARIANTS
from tiny_models import write_checkpoint
from tiny_variants import STATE_VARIANTS

from weft import LLM, SamplingParams
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.cache.manager import CacheManager
from weft.engine.runner import Runner
from weft.errors import ConfigError

INTERVAL = 16
MODELS = STATE_VARIANTS | HYBRID_VARIANTS


@pytest.fixture(scope="module", params=MODELS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyModel]:
    path = tmp_path_factory.mktemp(request.param)
    model = write_checkpoint(MODELS[request.param], path)
    yield TinyModel(path, lambda ids: model(ids, use_cache=False).logits)


def engine(tiny: TinyModel, **options) -> LLM:
    return LLM(model=str(tiny.path), **({
        "dtype": "float32", "skip_tokenizer_init": True, "max_model_len": 160, "block_size": 1, "num_threads": 1,
        "kv_cache_memory_bytes": 4 << 20, "use_tqdm_on_load": False} | options))


def test_every_key_that_transformers_writes_is_read_or_known_to_be_harmless(tiny: TinyModel):
    config = json.loads((tiny.path / "config.json").read_text())
    reader = ConfigReader(config)
    families()[config["architectures"][0]].describe(reader)

    assert reader.unread() == {}


@pytest.mark.proves("tested", "tiny", MODELS)
@pytest.mark.parametrize("isa", ["reference", "auto"])
def test_prompt_and_greedy_tokens_have_the_expected_logprobs(tiny: TinyModel, isa: str):
    with engine(tiny, enable_prefix_caching=False, cpu_isa=isa) as llm:
        outputs = generate(llm, prompt_logprobs=0)

    check(tiny, outputs)
    assert len({token for output in outputs for token in output.outputs[0].token_ids}) > 3     # the model is not stuck


def test_chunks_of_seven_tokens_change_nothing(tiny: TinyModel):
    with engine(tiny, enable_prefix_caching=False, max_num_batched_tokens=7, max_num_seqs=5) as llm:
        check(tiny, generate(llm, prompt_logprobs=0))


def test_states_kept_at_borders_are_gone_on_from(tiny: TinyModel):
    with engine(tiny, enable_prefix_caching=True, max_num_batched_tokens=50, max_num_seqs=5) as llm:
        cold = generate(llm, prompt_logprobs=0)
        warm = generate(llm, prompt_logprobs=None)

    check(tiny, cold)
    check(tiny, warm)
    assert [output.num_cached_tokens for output in warm] == [
        (length - 1) // INTERVAL * INTERVAL for length in PROMPT_LENGTHS]


def test_a_step_that_failed_after_its_work_is_run_again_for_each_sequence(tiny: TinyModel, monkeypatch):
    execute, failed = Runner.execute, []

    def failing(self, step_plan):
        results = execute(self, step_plan)
        if len(step_plan.scheduled) > 1:
            failed.append(len(step_plan.scheduled))
            raise RuntimeError("planted, after all states were written")
        return results

    monkeypatch.setattr(Runner, "execute", failing)
    with engine(tiny) as llm:
        outputs = generate(llm, prompt_logprobs=0)

    assert len(failed) > 10
    check(tiny, outputs)


def test_a_preempted_sequence_begins_again(tiny: TinyModel, monkeypatch):
    allocate, calls = CacheManager.allocate, []

    def refusing(self, seq, num_tokens):
        if seq.num_computed_tokens:                     # of running sequences, now and then, as if there were no blocks
            calls.append(num_tokens)
        return (not seq.num_computed_tokens or len(calls) % 3 != 0) and allocate(self, seq, num_tokens)

    monkeypatch.setattr(CacheManager, "allocate", refusing)
    with engine(tiny, enable_prefix_caching=False, max_num_batched_tokens=50, max_num_seqs=5) as llm:
        outputs = generate(llm, prompt_logprobs=None)

    assert sum(output.metrics.num_preemptions for output in outputs) > 1
    check(tiny, outputs)


def test_drafts_that_are_rejected_leave_no_trace_in_a_state(tiny: TinyModel, monkeypatch):
    execute, kept = Runner.execute, []

    def counting(self, step_plan):
        results = execute(self, step_plan)
        kept.extend(len(result.token_ids) - 1 for item, result in zip(step_plan.scheduled, results, strict=True)
                    if item.drafts)
        return results

    monkeypatch.setattr(Runner, "execute", counting)
    drafts = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 2, "prompt_lookup_min": 1}
    with engine(tiny, speculative_config=drafts) as llm:
        outputs = generate(llm, prompt_logprobs=None)

    assert len(kept) > 5 and 0 in kept
    check(tiny, outputs)


def test_two_answers_of_one_prompt_go_on_from_one_state(tiny: TinyModel):
    params = SamplingParams(temperature=1.0, max_tokens=12, n=2, seed=5, ignore_eos=True)
    alone = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
    prompt = {"prompt_token_ids": [3 + 7 * i % 300 for i in range(37)]}
    with engine(tiny) as llm:
        [greedy] = llm.generate(prompt, alone, use_tqdm=False)
        [sampled] = llm.generate(prompt, params, use_tqdm=False)
        [again] = llm.generate(prompt, alone, use_tqdm=False)

    assert len({tuple(answer.token_ids) for answer in sampled.outputs}) == 2
    assert greedy.outputs[0].token_ids == again.outputs[0].token_ids


@pytest.mark.parametrize("isa", ["reference", "auto"])
def test_the_memory_plan_counts_what_is_held(tiny: TinyModel, isa: str):
    planned, held = planned_and_held(tiny.path, cpu_isa=isa)

    assert planned == pytest.approx(held, rel=0.02)


@pytest.mark.parametrize(("name", "words"), [
    ("lfm2", "gated convolution of 64 channels over 3 tokens"),
    ("qwen3.5", "gated delta rule of 4 heads of 12 x 20, 2 key heads, convolution of 4"),
    ("kimi-linear", "gated delta rule with decays of each dimension of 4 heads of 12 x 12, convolution of 4"),
    ("minimax", "lightning attention of 4 heads of 24"),
    ("falcon-h1", "4 heads, 2 kv heads of 16 beside state space of 8 heads of 16 x 12 in 2 groups, convolution of 4"),
    ("mamba", "state space of 128 channels x 12, convolution of 4"),
    ("falcon-mamba", "state space of 128 channels x 12, convolution of 4, norms of steps"),
    ("mamba2-groups", "state space of 4 heads of 32 x 12 in 2 groups, convolution of 4, bias"),
])
def test_a_part_says_its_own_words(name: str, words: str):
    spec = families()[MODELS[name].cls].describe(ConfigReader(MODELS[name].values))

    assert spec.blocks[0].mixer.describe() == words


@pytest.mark.parametrize(("change", "message"), [
    ({"num_heads": 7}, r"num_heads = 7.*hidden_size \* expand / head_dim = 128 / 16"),
    ({"n_groups": 3}, r"n_groups = 3.*a divisor of num_heads = 8"),
    ({"time_step_limit": [0.1]}, r"time_step_limit = .*two numbers"),
    ({"time_step_limit": [0.5, 0.1]}, r"time_step_limit = .*two numbers"),
    ({"rms_norm": False}, "rms_norm"),
    ({"hidden_act": "swoosh"}, "hidden_act"),
    ({"state_size": 0}, "state_size"),
])
def test_a_config_that_does_not_fit_is_an_error_that_names_the_key(change: dict, message: str):
    values = STATE_VARIANTS["mamba2"].values | change

    with pytest.raises(ConfigError, match=message):
        families()["Mamba2ForCausalLM"].describe(ConfigReader(values))


@pytest.mark.parametrize(("name", "change", "message"), [
    ("lfm2", {"layer_types": ["conv"]}, "layer_types = '1 entries'.*3 entries, as num_hidden_layers says"),
    ("lfm2", {"layer_types": ["conv", "attend", "conv"]}, r"layer_types\[1\] = 'attend'.*one of full_attention, conv"),
    ("lfm2", {"layer_types": None, "full_attn_idxs": [0, 3]}, "full_attn_idxs = 3.*0 to 2, as num_hidden_layers says"),
    ("bamba", {"attn_layer_indices": [-1]}, "attn_layer_indices = -1.*0 to 2"),
    ("bamba", {"mamba_n_heads": 7}, "mamba_n_heads = 7.*128 channels / mamba_d_head = 16"),
    ("bamba", {"mamba_n_groups": 3}, "mamba_n_groups = 3.*a divisor of 8 heads"),
    ("jamba", {"attn_layer_offset": 3}, "attn_layer_offset = 3.*0 to 2, below attn_layer_period"),
    ("falcon-h1", {"mlp_multipliers": [1.0]}, "mlp_multipliers = .*2 numbers"),
    ("qwen3.5", {"linear_num_key_heads": 3}, "linear_num_key_heads = 3.*a divisor of linear_num_value_heads = 4"),
    ("granite-hybrid", {"position_embedding_type": "alibi"}, "position_embedding_type = 'alibi'.*rope, nope or null"),
    ("kimi-linear", {"num_expert_group": 3}, "num_expert_group = 3.*a divisor of num_experts = 8"),
    ("kimi-linear", {"linear_attn_config": {"kda_layers": [1, 2], "full_attn_layers": [2]}},
     r"linear_attn_config.kda_layers = .*each of the layers 1 to 3 once"),
    ("nemotron-h", {"layers_block_type": ["moe"]}, r"layers_block_type\[0\] = 'moe'.*attention .*mamba .*mlp"),
    ("nemotron-h", {"layers_block_type": None, "hybrid_override_pattern": "M*X"},
     r"hybrid_override_pattern\[2\] = 'X'.*attention .*mamba .*mlp"),
])
def test_a_hybrid_config_that_does_not_fit_is_an_error_that_names_the_key(name: str, change: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        families()[MODELS[name].cls].describe(ConfigReader(MODELS[name].values | change))


@pytest.mark.parametrize("tiny", ["mamba", "mamba2", "falcon-mamba"], indirect=True)
@pytest.mark.parametrize("dtype", ["int8", "fp8", "float16"])
def test_a_cache_dtype_that_states_cannot_have_is_an_error(tiny: TinyModel, dtype: str):
    with pytest.raises(ConfigError, match="kv_cache_dtype"):
        engine(tiny, kv_cache_dtype=dtype)
