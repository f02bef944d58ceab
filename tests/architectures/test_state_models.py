"""Models with states (Mamba 1 and 2, Falcon Mamba) give Transformers' tokens, whatever happens to a request on its way.

The comparison is that of test_against_transformers.py. Blocks are of one token here, so that states are kept every 16.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from held_weights import planned_and_held
from test_against_transformers import PROMPT_LENGTHS, TinyModel, check, generate
from tiny_models import write_checkpoint
from tiny_variants import STATE_VARIANTS

from weft import LLM
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.cache.manager import CacheManager
from weft.engine.runner import Runner
from weft.errors import ConfigError

INTERVAL = 16


@pytest.fixture(scope="module", params=STATE_VARIANTS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyModel]:
    path = tmp_path_factory.mktemp(request.param)
    model = write_checkpoint(STATE_VARIANTS[request.param], path)
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


@pytest.mark.proves("tested", "tiny", STATE_VARIANTS)
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


@pytest.mark.parametrize("isa", ["reference", "auto"])
def test_the_memory_plan_counts_what_is_held(tiny: TinyModel, isa: str):
    planned, held = planned_and_held(tiny.path, cpu_isa=isa)

    assert planned == pytest.approx(held, rel=0.02)


@pytest.mark.parametrize(("name", "words"), [
    ("mamba", "state space of 128 channels x 12, convolution of 4"),
    ("falcon-mamba", "state space of 128 channels x 12, convolution of 4, norms of steps"),
    ("mamba2-groups", "state space of 4 heads of 32 x 12 in 2 groups, convolution of 4, bias"),
])
def test_a_part_says_its_own_words(name: str, words: str):
    spec = families()[STATE_VARIANTS[name].cls].describe(ConfigReader(STATE_VARIANTS[name].values))

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


@pytest.mark.parametrize("dtype", ["int8", "fp8", "float16"])
def test_a_cache_dtype_that_states_cannot_have_is_an_error(tiny: TinyModel, dtype: str):
    with pytest.raises(ConfigError, match="kv_cache_dtype"):
        engine(tiny, kv_cache_dtype=dtype)
