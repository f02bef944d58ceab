"""With n-gram speculation every request gets just what it gets without: tokens, text, log-probabilities, ends.

On native kernels, whose results do not depend on how many rows a step has; "just" means each bit.
"""

from __future__ import annotations

import queue
import random
import time

import msgspec
import pytest
from dying_engine import CORE as DYING_CORE
from isa_levels import native_levels
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.engine.process.messages import EngineRequest, EngineStats
from weft.engine.process.process_client import ProcessClient
from weft.engine.process.resume import StatsTotal
from weft.engine.process.spare import Spare
from weft.resolve.engine_config import resolve_engine_config

pytestmark = pytest.mark.skipif(not native_levels(), reason="no native kernels here")

NGRAM = {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
MODELS = {
    "float32": {"torch_dtype": "float32"},
    "bfloat16": {"torch_dtype": "bfloat16"},
    "sliding-window": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 21},
}
ONE_TOKEN_BYTES = 2 * 2 * 2 * 8 * 4             # two layers, k and v, two heads of eight float32


@pytest.fixture(scope="module", params=MODELS)
def directory(request, tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"), **MODELS[request.param])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


def engine(directory, **options):
    return LLM(model=str(directory), **({
        "max_model_len": 256, "max_num_seqs": 8, "num_threads": 1, "use_tqdm_on_load": False} | options))


def prompts(count):
    """Prompts that say everything twice, and one token each after that."""
    rng = random.Random(5)
    return [{"prompt_token_ids": [rng.randrange(250) for _ in range(rng.choice([1, 5, 16, 17, 40]))] * 2 + [i]}
            for i in range(count)]


def all_of(outputs):
    """Everything that a user sees of each request."""
    return [[output.prompt_logprobs, *([a.token_ids, a.text, a.logprobs, a.cumulative_logprob, a.finish_reason,
                                        a.stop_reason] for a in output.outputs)] for output in outputs]


def generate(directory, params, **options):
    """(what the requests got, the engine's statistics)."""
    with engine(directory, **options) as llm:
        outputs = llm.generate(prompts(len(params)), params, use_tqdm=False)
        return all_of(outputs), msgspec.structs.replace(llm.stats), outputs


def params_of_each_kind():
    common = {"max_tokens": 50, "ignore_eos": True}
    greedy, drawn = {"temperature": 0.0}, {"temperature": 0.5}
    return [SamplingParams(**(common | kind)) for kind in (
        greedy, greedy | {"logprobs": 3}, drawn | {"seed": 1}, drawn | {"seed": 2, "logprobs": 2, "n": 3},
        drawn | {"seed": 3, "top_k": 5, "top_p": 0.9, "min_p": 0.05},
        greedy | {"repetition_penalty": 1.05, "logprobs": 0},
        greedy | {"frequency_penalty": 0.2, "presence_penalty": 0.1},
        greedy | {"prompt_logprobs": 2, "logprobs": 1},
        greedy | {"min_tokens": 20, "ignore_eos": False, "stop_token_ids": list(range(100, 130))},
        greedy | {"stop_token_ids": list(range(60))},
        drawn | {"seed": 4, "bad_words": ["a", "ab"], "logit_bias": {25: 3.0, 117: 3.0}},
        greedy | {"allowed_token_ids": [7, 8, 9], "logprobs": 2}, greedy | {"max_tokens": 1},
        greedy | {"max_tokens": 3}, greedy | {"max_tokens": 220}, drawn | {"seed": 5, "max_tokens": 120},
    )]


def test_every_kind_of_request_gets_just_what_it_gets_without(directory):
    wanted, before, _ = generate(directory, params_of_each_kind())
    found, stats, _ = generate(directory, params_of_each_kind(), speculative_config=NGRAM)

    for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
        assert one == other, f"request {number}"
    assert before.num_drafts == before.num_draft_tokens == 0
    assert 0 < stats.num_drafts < stats.num_draft_tokens <= 5 * stats.num_drafts
    accepted = stats.num_accepted_tokens_per_pos
    assert len(accepted) == 5 and accepted == sorted(accepted, reverse=True) and accepted[4] > 0
    assert stats.num_steps < before.num_steps
    assert stats.generation_tokens == before.generation_tokens


def test_chunks_of_few_tokens_leave_drafts_little_room_and_change_nothing(directory):
    wanted, _, _ = generate(directory, params_of_each_kind())
    found, stats, _ = generate(directory, params_of_each_kind(), speculative_config=NGRAM, max_num_batched_tokens=11)

    assert found == wanted
    assert sum(stats.num_accepted_tokens_per_pos) > 0


@pytest.mark.parametrize("way", [{"quantization": "int8"}, {"quantization": "w8a8"}, {"kv_cache_dtype": "int8"},
                                 {"kv_cache_dtype": "fp8"}], ids=lambda way: "-".join(way.values()))
def test_codes_for_weights_and_caches_change_nothing(small, way):
    params = [SamplingParams(temperature=0.3 * (i % 2), seed=i, max_tokens=50, logprobs=2, ignore_eos=True)
              for i in range(4)]
    wanted, _, _ = generate(small, params, **way)
    found, stats, _ = generate(small, params, speculative_config=NGRAM, **way)

    assert found == wanted
    assert sum(stats.num_accepted_tokens_per_pos) > 0


def test_experts_change_nothing(tmp_path):
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
    Qwen3MoeForCausalLM(Qwen3MoeConfig(
        vocab_size=260, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=256, num_experts=6, num_experts_per_tok=2,
        moe_intermediate_size=64)).save_pretrained(tmp_path)
    params = [SamplingParams(temperature=0.1 * i, seed=i, max_tokens=60, logprobs=2, ignore_eos=True, detokenize=False)
              for i in range(3)]
    options = {"skip_tokenizer_init": True, "dtype": "bfloat16"}
    wanted, _, _ = generate(tmp_path, params, **options)
    found, stats, _ = generate(tmp_path, params, speculative_config=NGRAM, **options)

    assert found == wanted
    assert stats.num_drafts > 0


def test_preemption_changes_nothing(small):
    params = [SamplingParams(temperature=0.3 * (i % 3), seed=i, max_tokens=60, logprobs=1, ignore_eos=True)
              for i in range(12)]
    wanted, _, _ = generate(small, params, enable_prefix_caching=False)
    found, stats, outputs = generate(small, params, speculative_config=NGRAM, max_num_batched_tokens=64,
                                     kv_cache_memory_bytes=20 * 16 * ONE_TOKEN_BYTES)

    assert found == wanted
    assert sum(output.metrics.num_preemptions for output in outputs) > 0
    assert sum(stats.num_accepted_tokens_per_pos) > 0


def test_an_answer_found_in_the_prefix_cache_is_that_of_kept_tokens(small):
    params = SamplingParams(temperature=0, max_tokens=80, ignore_eos=True, logprobs=1)
    [prompt] = prompts(1)
    with engine(small) as llm:
        first = llm.generate([prompt], params, use_tqdm=False)[0].outputs[0]
        longer = {"prompt_token_ids": prompt["prompt_token_ids"] + first.token_ids}
        wanted = all_of(llm.generate([longer], params, use_tqdm=False))
    with engine(small, speculative_config=NGRAM) as llm:
        llm.generate([prompt], params, use_tqdm=False)
        [output] = llm.generate([longer], params, use_tqdm=False)

    assert output.num_cached_tokens >= 80 - 16
    assert all_of([output]) == wanted


def test_stop_strings_cut_text_in_the_middle_of_accepted_drafts(small):
    with engine(small) as llm:
        text = llm.generate(prompts(3), SamplingParams(temperature=0, max_tokens=60), use_tqdm=False)[2].outputs[0].text
    stops = [text[i : i + 2] for i in range(10, 40, 3)]
    assert all(len(stop) == 2 for stop in stops)
    for stop in stops:
        for shows in (False, True):
            params = [SamplingParams(temperature=0, max_tokens=60, stop=[stop], include_stop_str_in_output=shows)] * 3
            assert generate(small, params)[0] == generate(small, params, speculative_config=NGRAM)[0]


# The engine's core


def make_core(directory, core=EngineCore, **options):
    args = EngineArgs(model=str(directory), max_model_len=128, max_num_seqs=8, num_threads=1, use_tqdm_on_load=False,
                      **options)
    return core(resolve_engine_config(args, Machine.detect()))


def request(name, prompt, **params):
    return EngineRequest(request_id=name, prompt_token_ids=prompt, eos_token_ids=[], arrival_time=time.monotonic(),
                         params=SamplingParams(**({"temperature": 0.0, "max_tokens": 60, "seed": 0} | params)))


def run(core):
    tokens, errors = {}, {}
    while core.has_unfinished:
        for output in core.step().outputs:
            tokens.setdefault(output.request_id, []).extend(output.new_token_ids)
            errors[output.request_id] = output.error
        core.check()
    return tokens, errors


def test_an_abort_between_steps_takes_drafts_with_it_and_leaves_the_others_alone(small):
    wanted = run_alone(small, "b")
    core = make_core(small, speculative_config=NGRAM)
    for name in ("a", "b"):
        core.add(request(name, [7, 8] * 9 + [ord(name)]))
    got = []
    for _ in range(6):
        got += [token for output in core.step().outputs if output.request_id == "b" for token in output.new_token_ids]
    core.abort(["a"])
    core.check()
    tokens, _ = run(core)

    assert got + tokens["b"] == wanted
    assert core.stats.kv_cache_usage == 0


def run_alone(directory, name):
    core = make_core(directory)
    core.add(request(name, [7, 8] * 9 + [ord(name)]))
    return run(core)[0][name]


def test_a_step_that_fails_is_run_again_with_the_same_drafts(small):
    core = make_core(small, speculative_config=NGRAM)
    execute, failures = core.runner.execute, []

    def flaky(plan):
        if len(plan.scheduled) > 1 and any(item.drafts for item in plan.scheduled) and len(failures) < 5:
            failures.append(plan)
            execute(plan)                                  # it wrote its keys and values before it failed
            raise RuntimeError("a fault")
        return execute(plan)

    core.runner.execute = flaky
    for name in ("a", "b"):
        core.add(request(name, [7, 8] * 9 + [ord(name)]))
    tokens, errors = run(core)

    assert len(failures) == 5
    assert tokens == {name: run_alone(small, name) for name in ("a", "b")}
    assert errors == {"a": None, "b": None}


def test_a_row_that_fails_behind_right_drafts_fails_at_its_own_place(small):
    """Tokens before it come as without drafts, then the error."""
    def of(**options):
        core, rounds = make_core(small, **options), []
        sample = core.runner.sampler.sample

        def failing(logits, rows, masks):
            for row, values in zip(rows, logits, strict=True):
                if row.num_output_tokens == 30:
                    values.fill_(float("nan"))
            rounds.append(len(rows))
            return sample(logits, rows, masks)

        core.runner.sampler.sample = failing
        core.add(request("a", [7, 8] * 9))
        return run(core), max(rounds)

    (tokens, errors), most = of(speculative_config=NGRAM)

    assert most == 6
    assert (tokens, errors) == of()[0]
    assert len(tokens["a"]) == 30 and "not numbers" in errors["a"]


def test_a_resumed_request_goes_on_as_if_it_had_never_stopped(small):
    wanted = run_alone(small, "a")
    core = make_core(small, speculative_config=NGRAM)
    resumed = request("a", [7, 8] * 9 + [ord("a")])
    resumed.output_token_ids = wanted[:25]
    core.add(resumed)

    assert run(core)[0]["a"] == wanted[25:]


def test_after_a_crash_answers_go_on_token_for_token_and_counters_count_on(tmp_path):
    directory = make_checkpoint(tmp_path / "model")
    args = EngineArgs(model=str(directory), max_model_len=128, max_num_seqs=8, num_threads=1, use_tqdm_on_load=False,
                      speculative_config=NGRAM)
    events, tokens, ends = queue.Queue(), {}, set()
    client = ProcessClient(resolve_engine_config(args, Machine.detect()), events.put, Spare(DYING_CORE))
    try:
        for name in ("a", "b"):
            client.add(request(name, [7, 8] * 9 + [ord(name)]))
        while ends != {"a", "b"}:
            result = events.get(timeout=60)
            for output in result.outputs:
                tokens.setdefault(output.request_id, []).extend(output.new_token_ids)
                ends |= {output.request_id} if output.finish_reason else set()
    finally:
        client.close()

    drafts_before = int((directory / "died").read_text().split()[0])
    assert tokens == {name: run_alone(directory, name) for name in ("a", "b")}
    assert 0 < drafts_before < result.stats.num_drafts
    assert 0 < sum(result.stats.num_accepted_tokens_per_pos) <= result.stats.num_draft_tokens


def test_totals_over_restarts_sum_accepted_drafts_by_place():
    total = StatsTotal()
    total.add(EngineStats(num_drafts=2, num_draft_tokens=6, num_accepted_tokens_per_pos=[2, 1, 0]))
    total.restart()

    latest = total.add(EngineStats(num_drafts=1, num_draft_tokens=5, num_accepted_tokens_per_pos=[1, 1, 1, 1, 0]))

    assert (latest.num_drafts, latest.num_draft_tokens) == (3, 11)
    assert latest.num_accepted_tokens_per_pos == [3, 2, 1, 1, 0]
