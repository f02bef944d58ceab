"""`LLM.get_metrics()`: the numbers of a server's /metrics, in vLLM's classes and under vLLM's names."""

from __future__ import annotations

from tiny_llama import make_checkpoint
from toy_engine import CORE, POOLING_CORE, make_config

from weft import LLM, PoolingParams, SamplingParams
from weft.frontend.metrics_list import Counter, Gauge, Histogram, Vector


def by_name(llm):
    return {metric.name: metric for metric in llm.get_metrics()}


def test_requests_are_counted_and_their_sizes_observed(tmp_path):
    with LLM(str(make_checkpoint(tmp_path)), max_model_len=256, num_threads=1, use_tqdm_on_load=False) as llm:
        before = by_name(llm)
        llm.generate([{"prompt_token_ids": ids} for ids in ([5, 6, 7], [8])],
                     SamplingParams(temperature=0.0, max_tokens=3, ignore_eos=True), use_tqdm=False)
        after = by_name(llm)

    assert before.keys() == after.keys()
    running, prompts, success = (after[f"vllm:{name}"] for name in (
        "num_requests_running", "prompt_tokens", "request_generation_tokens"))
    assert isinstance(running, Gauge)
    assert (running.value, running.labels["engine"]) == (0, "0")
    assert isinstance(prompts, Counter)
    assert (before["vllm:prompt_tokens"].value, prompts.value) == (0, 4)
    assert isinstance(success, Histogram)
    assert (success.count, success.sum) == (2, 6.0)
    assert {bound: success.buckets[bound] for bound in ("2.0", "5.0", "+Inf")} == {"2.0": 0, "5.0": 2, "+Inf": 2}
    assert after["vllm:time_to_first_token_seconds"].count == 2


def test_a_family_with_several_series_gives_one_metric_for_each(toy_tokenizer):
    with LLM.from_config(make_config(toy_tokenizer), CORE) as llm:
        llm.generate(["abc", "y"], SamplingParams(temperature=0.0, max_tokens=3), use_tqdm=False)
        ends = {metric.labels["finished_reason"]: metric.value for metric in llm.get_metrics()
                if metric.name == "vllm:request_success"}

    assert ends == {"stop": 1, "length": 1, "abort": 0, "error": 0, "repetition": 0}


def test_accepted_drafts_are_a_vector(tmp_path):
    speculative = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
    with LLM(str(make_checkpoint(tmp_path)), max_model_len=256, num_threads=1, use_tqdm_on_load=False,
             speculative_config=speculative) as llm:
        llm.generate({"prompt_token_ids": list(range(20)) * 3}, SamplingParams(temperature=0.0, max_tokens=32,
                                                                               ignore_eos=True), use_tqdm=False)
        found, stats = by_name(llm), llm.stats

    accepted = found["vllm:spec_decode_num_accepted_tokens_per_pos"]
    assert isinstance(accepted, Vector)
    assert len(accepted.values) == 4
    assert sum(accepted.values) == found["vllm:spec_decode_num_accepted_tokens"].value == sum(
        stats.num_accepted_tokens_per_pos)
    assert found["vllm:spec_decode_num_drafts"].value == stats.num_drafts > 0


def test_pooled_prompts_are_counted(toy_tokenizer):
    with LLM.from_config(make_config(toy_tokenizer), POOLING_CORE) as llm:
        llm.encode(["abc"], PoolingParams(), pooling_task="embed", use_tqdm=False)

        assert by_name(llm)["vllm:request_prompt_tokens"].sum == 3.0
