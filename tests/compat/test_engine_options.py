"""Engine options of scripts written for vLLM: what is accepted, translated, told or refused."""

from __future__ import annotations

import logging
from dataclasses import asdict, fields

import pytest

from weft.compat.vllm.options.accept import tell
from weft.compat.vllm.options.engine import ENGINE
from weft.compat.vllm.options.row import NO_EFFECT, REFUSED, SAME, STATES, TRANSLATED
from weft.compat.vllm.options.serve import SERVE
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError, NotBuiltError
from weft.server.options import ServerOptions

TABLES = {"engine": ENGINE, "serve": SERVE}
ROWS = [pytest.param(option, id=f"{title}-{option.name}") for title, rows in TABLES.items() for option in rows.values()]


@pytest.fixture(autouse=True)
def nothing_told_yet():
    tell.cache_clear()


def rows_of(state: str) -> list[str]:
    return [name for name, option in ENGINE.items() if option.state == state]


def odd_value(name: str) -> object:
    """A value that is not what weft does anyway."""
    return True if any(off is False for off in ENGINE[name].off) else "something else"


@pytest.mark.parametrize("option", ROWS)
def test_a_row_has_a_state_and_says_what_it_must(option):
    assert option.state in STATES
    assert option.say or option.state == SAME
    assert (option.read is not None) or option.state != TRANSLATED
    assert not option.say.endswith(".") or option.state == REFUSED      # a hint is a sentence, a reason is a clause


def test_the_same_options_are_the_fields_that_weft_and_vllm_share():
    assert set(rows_of(SAME)) == {f.name for f in fields(EngineArgs)} & ENGINE.keys()


def test_the_same_flags_of_the_server_are_its_options():
    others = {"chat_template", "config"}      # of the engine's flags
    assert {name for name, o in SERVE.items() if o.state == SAME} - others == (
        {f.name for f in fields(ServerOptions)} & SERVE.keys())


@pytest.mark.parametrize("options", [
    {"runner": "generate"}, {"convert": "none"}, {"swap_space": 4}, {"disable_log_stats": True}, {"task": "generate"},
    {"distributed_executor_backend": "mp"}, {"device": "cpu"}, {"tensor_parallel_size": 1}, {"block_size": None},
    {"use_v2_block_manager": True}, {"enable_lora": False}, {"worker_use_ray": False}, {"num_lookahead_slots": 0},
    {"speculative_model": None}, {"kv_cache_dtype": "auto"}, {"enforce_eager": None}, {"tokenizer_mode": "slow"},
    {"model_impl": "vllm"}, {"generation_config": "vllm"}, {"load_format": "bitsandbytes"}, {"hf_token": True},
    {"disable_custom_all_reduce": True}, {"compilation_config": {}}, {"limit_mm_per_prompt": {}}, {"seed": None},
])
def test_a_value_that_means_what_weft_does_anyway_passes_silently(options, caplog):
    EngineArgs(**options)

    assert caplog.messages == []


@pytest.mark.parametrize("name", rows_of(REFUSED) + rows_of(NO_EFFECT))
def test_every_value_that_means_off_passes_silently(name, caplog):
    for value in (None, *ENGINE[name].off):
        EngineArgs(**{name: value})

    assert caplog.messages == []


@pytest.mark.parametrize("name", rows_of(NO_EFFECT))
def test_an_option_without_effect_is_told_once_with_the_reason(name, caplog):
    if set(map(repr, ENGINE[name].off)) >= {"True", "False"}:
        pytest.skip("both of its values are what weft does")
    value = False if ENGINE[name].off == (True,) else odd_value(name)
    with caplog.at_level(logging.WARNING, "weft"):
        assert EngineArgs(**{name: value}) == EngineArgs()
        EngineArgs(**{name: value})

    assert caplog.messages == [f"{name} has no effect: {ENGINE[name].say}"]


@pytest.mark.parametrize("name", rows_of(REFUSED))
def test_a_value_that_weft_cannot_honour_is_refused_with_what_to_do(name):
    with pytest.raises(NotBuiltError) as caught:
        EngineArgs(**{name: odd_value(name)})

    assert str(caught.value).startswith(f"{name} = ")
    assert ENGINE[name].say in str(caught.value)


@pytest.mark.parametrize(("given", "meant"), [
    ({"task": "generate"}, {"runner": "generate"}),
    ({"task": "embed"}, {"runner": "pooling", "convert": "embed"}),
    ({"task": "score"}, {"runner": "pooling", "convert": "classify"}),
    ({"runner": "pooling", "convert": "reward"}, {"runner": "pooling", "convert": "embed"}),
    ({"rope_theta": 1e6}, {"hf_overrides": {"rope_theta": 1e6}}),
    ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 1e6, "hf_overrides": {"x": 1}},
     {"hf_overrides": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 1e6, "x": 1}}),
    ({"rope_scaling": '{"rope_type": "linear", "factor": 2.0}'},
     {"hf_overrides": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}}),
    ({"speculative_model": "[ngram]", "num_speculative_tokens": 3, "ngram_prompt_lookup_max": 4},
     {"speculative_config": {"model": "[ngram]", "num_speculative_tokens": 3, "prompt_lookup_max": 4}}),
    ({"spec_method": "ngram", "spec_tokens": 3, "speculative_config": {"prompt_lookup_max": 4}},
     {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}}),
    ({"device_memory_utilization": 0.5}, {"gpu_memory_utilization": 0.5}),
    ({"model_impl": "vllm", "tokenizer_mode": "slow", "generation_config": "vllm"},
     {"model_impl": "native", "tokenizer_mode": "hf", "generation_config": "weft"}),
])
def test_older_options_become_those_that_weft_has(given, meant):
    assert EngineArgs(**given) == EngineArgs(**meant)


def test_a_torch_dtype_is_read_by_its_name():
    torch = pytest.importorskip("torch")

    assert EngineArgs(dtype=torch.float16).dtype == "float16"


def test_options_that_contradict_each_other_are_named_both():
    with pytest.raises(ConfigError, match=r"task = 'embed': expected nothing that contradicts runner = 'generate'"):
        EngineArgs(task="embed", runner="generate")
    with pytest.raises(ConfigError, match=r"rope_theta = 2.0: .*contradicts hf_overrides"):
        EngineArgs(rope_theta=2.0, hf_overrides={"rope_theta": 1.0})


@pytest.mark.parametrize(("options", "said"), [
    ({"convert": "score"}, r"convert = 'score': expected one of auto, none, embed, classify"),
    ({"speculative_model": "draft", "num_speculative_tokens": 3}, r"speculative_config"),
])
def test_a_translation_to_what_is_not_built_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        EngineArgs(**options)


def test_an_unknown_option_is_named_with_the_nearest_ones():
    with pytest.raises(TypeError, match=r"unknown option 'max_model_length'; did you mean 'max_model_len'"):
        EngineArgs(max_model_length=5)


def test_the_fields_as_a_dictionary_make_equal_options():
    args = EngineArgs(model="DIR", task="generate", rope_theta=5.0, swap_space=8, served_model_name="a")

    assert EngineArgs(**asdict(args)) == args
