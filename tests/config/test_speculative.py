"""The option speculative_config: what it becomes, and what is refused by name."""

import pytest

from weft.config.engine_args import EngineArgs
from weft.config.speculative import SpeculativeConfig, read_speculative_config
from weft.errors import ConfigError, NotBuiltError


def test_ngram_lookup_with_its_bounds():
    values = {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2}

    assert read_speculative_config(values) == SpeculativeConfig(
        method="ngram", num_speculative_tokens=5, prompt_lookup_min=2, prompt_lookup_max=4)


@pytest.mark.parametrize(("given", "bounds"), [
    ({}, (5, 5)), ({"prompt_lookup_max": 4}, (4, 4)), ({"prompt_lookup_min": 3}, (3, 3)),
    ({"prompt_lookup_min": None, "prompt_lookup_max": 2}, (2, 2)),
])
def test_a_bound_that_is_not_given_is_the_other_one_or_five(given, bounds):
    config = read_speculative_config({"method": "ngram", "num_speculative_tokens": 1} | given)

    assert (config.prompt_lookup_min, config.prompt_lookup_max) == bounds


@pytest.mark.parametrize("values", [None, {}])
def test_nothing_means_no_speculation(values):
    assert read_speculative_config(values) is None
    assert EngineArgs(speculative_config=values).speculative_config == values


def test_the_model_may_name_the_method_and_options_of_other_methods_may_be_off():
    values = {"model": "[ngram]", "num_speculative_tokens": 2, "rejection_sample_method": "standard",
              "draft_tensor_parallel_size": None}

    assert read_speculative_config(values).method == "ngram"


@pytest.mark.parametrize(("change", "field"), [
    ({"method": "guess"}, "method"), ({"method": 5}, "method"), ({"method": None}, "method"),
    *(({"num_speculative_tokens": value}, "num_speculative_tokens") for value in (0, -3, 10**6, 2.0, True, None)),
    ({"prompt_lookup_max": 0}, "prompt_lookup_max"), ({"prompt_lookup_max": 10**9}, "prompt_lookup_max"),
    ({"prompt_lookup_min": -1}, "prompt_lookup_min"), ({"prompt_lookup_min": "2"}, "prompt_lookup_min"),
    ({"prompt_lookup_min": 5, "prompt_lookup_max": 4}, "prompt_lookup_min"),
    ({"prompt_lokup_max": 4}, "prompt_lokup_max"), ({3: 4}, "3"),
])
def test_a_wrong_value_is_an_error_that_names_its_field(change, field):
    values = {"method": "ngram", "num_speculative_tokens": 5} | change

    with pytest.raises(ConfigError) as caught:
        EngineArgs(speculative_config=values)

    assert caught.value.field == f"speculative_config.{field}"
    assert not isinstance(caught.value, NotBuiltError)


def test_a_misspelled_field_gets_the_nearest_one():
    with pytest.raises(ConfigError, match="Did you mean prompt_lookup_max"):
        read_speculative_config({"method": "ngram", "num_speculative_tokens": 5, "prompt_lokup_max": 4})


@pytest.mark.parametrize("change", [
    {"method": "eagle3"}, {"method": "draft_model"}, {"method": "suffix"}, {"model": "org/draft"},
    {"rejection_sample_method": "synthetic"}, {"quantization": "fp8"},
])
def test_what_vllm_has_and_weft_has_not_is_refused_by_name(change):
    [field] = change
    with pytest.raises(NotBuiltError) as caught:
        read_speculative_config({"method": "ngram", "num_speculative_tokens": 5} | change)

    assert caught.value.field == f"speculative_config.{field}"
    assert "ngram" in str(caught.value) or "n-gram" in str(caught.value)


@pytest.mark.parametrize("value", ["ngram", 5, ["ngram"], True])
def test_anything_but_an_object_is_refused(value):
    with pytest.raises(ConfigError) as caught:
        EngineArgs(speculative_config=value)

    assert caught.value.field == "speculative_config"
