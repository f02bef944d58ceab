"""Samplers that vLLM does not have, through the engine: what they change, and the same answer whatever happens."""

import math

import pytest
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams
from weft.errors import RequestError

PROMPT = {"prompt_token_ids": [5, 9, 7, 5, 9, 7, 5, 9]}
OTHERS = [{"prompt_token_ids": [3 + i, 8, 20 + i]} for i in range(5)]
ALL = {
    "dry": {"dry_multiplier": 2.0, "dry_allowed_length": 1},
    "sigma": {"top_n_sigma": 1.0},
    "typical": {"typical_p": 0.5},
    "xtc": {"xtc_probability": 0.7, "xtc_threshold": 0.02},
    "dynatemp": {"dynatemp_range": 0.8, "dynatemp_exponent": 2.0},
    "mirostat 1": {"mirostat": 1, "mirostat_tau": 1.0},
    "mirostat 2": {"mirostat": 2, "mirostat_tau": 1.5, "mirostat_eta": 0.3},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def llm(checkpoint):
    with LLM(model=str(checkpoint), dtype="float32", use_tqdm_on_load=False, num_threads=1) as llm:
        yield llm


preempted = []      # of each call


def answer(llm, prompts=(PROMPT,), count=24, **params):
    params = SamplingParams(**{"temperature": 1.0, "seed": 7, "max_tokens": count, "ignore_eos": True,
                               "allowed_token_ids": list(range(5, 17))} | params)
    outputs = llm.generate(list(prompts), params, use_tqdm=False)
    preempted.append(sum(output.metrics.num_preemptions for output in outputs))
    return [list(output.outputs[0].token_ids) for output in outputs]


@pytest.mark.parametrize("kind", ALL)
def test_an_answer_is_another_than_without_and_the_same_in_company(llm, kind):
    (alone,) = answer(llm, **ALL[kind])

    assert alone != answer(llm)[0]
    assert answer(llm, [*OTHERS, PROMPT], **ALL[kind])[-1] == alone


@pytest.mark.parametrize("kind", ALL)
def test_a_preempted_answer_goes_on_as_if_nothing_had_happened(checkpoint, llm, kind):
    wanted = answer(llm, [PROMPT, *OTHERS], 40, **ALL[kind])
    (plan,) = llm.collective_rpc("memory_plan")
    small = 11 * plan["kv_cache_bytes"] // plan["num_blocks"][0]

    with LLM(model=str(checkpoint), dtype="float32", use_tqdm_on_load=False, num_threads=1,
             kv_cache_memory_bytes=small, max_model_len=64) as crowded:
        assert answer(crowded, [PROMPT, *OTHERS], 40, **ALL[kind]) == wanted
        assert preempted[-1] > 0


@pytest.mark.parametrize("kind", ["mirostat 2", "xtc", "dry"])
def test_drafts_change_nothing(checkpoint, llm, kind):
    wanted = answer(llm, count=40, **ALL[kind])

    with LLM(model=str(checkpoint), dtype="float32", use_tqdm_on_load=False, num_threads=1,
             speculative_config={"method": "ngram", "num_speculative_tokens": 3}) as drafting:
        assert answer(drafting, count=40, **ALL[kind]) == wanted


def test_a_greedy_answer_with_dry_repeats_no_passage(llm):
    (plain,) = answer(llm, count=60, temperature=0, allowed_token_ids=None)
    (dry,) = answer(llm, count=60, temperature=0, dry_multiplier=100.0, dry_allowed_length=2,
                    dry_sequence_breakers=[], allowed_token_ids=None)

    def triples(tokens):
        return [tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)]

    assert len(set(triples(dry))) == len(triples(dry)) > len(set(triples(plain)))


@pytest.mark.parametrize(("version", "tau"), [(2, 2.0), (2, 4.0), (1, 4.0)])
def test_mirostat_keeps_the_mean_surprise_near_tau(checkpoint, version, tau):
    params = SamplingParams(mirostat=version, mirostat_tau=tau, mirostat_eta=0.2, seed=3, max_tokens=60,
                            ignore_eos=True, logprobs=0)
    with LLM(model=str(checkpoint), dtype="float32", use_tqdm_on_load=False, num_threads=1,
             logprobs_mode="processed_logprobs") as llm:
        (output,) = llm.generate([PROMPT], params, use_tqdm=False)

    bits = [-next(iter(entry.values())).logprob / math.log(2) for entry in output.outputs[0].logprobs]
    assert sum(bits[10:]) / len(bits[10:]) == pytest.approx(tau, abs=0.5)


@pytest.mark.parametrize("fields", [
    {"dry_multiplier": 100.0, "dry_base": 100.0, "dry_allowed_length": 0},
    {"dynatemp_range": 2.0, "dynatemp_exponent": 100.0, "temperature": 0.5},
    {"dynatemp_range": 2.0, "dynatemp_exponent": 30.0, "temperature": 2.0}])
def test_the_largest_values_give_an_answer(llm, fields):
    repeating = {"prompt_token_ids": [5, 7] * 110}

    (tokens,) = answer(llm, [repeating], **fields)

    assert len(tokens) == 24


def test_a_greedy_request_has_no_filters():
    params = SamplingParams(temperature=0, typical_p=0.5, mirostat=2, top_n_sigma=1.0)

    assert not params.has_filters


@pytest.mark.parametrize(("field", "value"), [
    ("typical_p", 0), ("typical_p", 1.5), ("mirostat", 3), ("mirostat", True), ("xtc_probability", -0.1),
    ("dry_base", 0.5), ("dry_allowed_length", 1.5), ("dry_sequence_breakers", "ab"), ("dry_sequence_breakers", [""]),
    ("dynatemp_range", float("nan")), ("top_n_sigma", "many")])
def test_a_wrong_value_names_its_field(field, value):
    with pytest.raises(RequestError, match=rf"^{field}"):
        SamplingParams(**{field: value})
