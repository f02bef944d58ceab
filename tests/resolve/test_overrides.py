"""Overrides are merged, learnt from what a function changed, and refused when they change nothing the model reads."""

import pytest

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.errors import ConfigError
from weft.resolve.config_file import normalise
from weft.resolve.options.override_check import check_overrides
from weft.resolve.options.overrides import changes

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100, "hidden_size": 32,
         "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 512}


def check(overrides, **values):
    config = normalise(LLAMA | values, overrides, "c.json")
    reader = ConfigReader(config.values, source="c.json", origins=config.origins)
    families()["LlamaForCausalLM"].describe(reader)
    check_overrides(reader, config.origins)


@pytest.mark.parametrize("overrides", [
    {"hidden_size": 64}, {"rope_theta": 5e5}, {"rope_scaling": {"type": "linear", "factor": 2.0}},
    {"max_position_embeddings": 64}, {"dtype": "float32"}, {"eos_token_id": 3}, {"model_type": "mistral"}, {},
])
def test_an_override_that_the_model_reads_is_fine(overrides):
    check(overrides)


@pytest.mark.parametrize(("overrides", "field", "said"), [
    ({"rms_norm_epz": 1e-5}, "hf_overrides.rms_norm_epz", "the model reads rms_norm_eps"),
    ({"use_cache": False}, "hf_overrides.use_cache", "would change nothing"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0, "betafast": 1}}, "hf_overrides.rope_scaling.betafast",
     "would change nothing"),
    ({"rotary": {"rope_theta": 5e5}}, "hf_overrides.rotary.rope_theta", "rope_parameters.rope_theta"),
    ({"n_embd": 64}, "hf_overrides.n_embd", "would change nothing"),
])
def test_an_override_that_changes_nothing_names_the_path_that_would_work(overrides, field, said):
    with pytest.raises(ConfigError) as caught:
        check(overrides, rope_theta=1e4)

    assert caught.value.field == field
    assert said in caught.value.hint


def test_an_overridden_value_that_cannot_be_used_is_said_to_be_the_users():
    with pytest.raises(ConfigError, match=r"hidden_size = -1 \(in hf_overrides\)"):
        check({"hidden_size": -1})
    with pytest.raises(ConfigError, match=r"rope_scaling\.type = 'spiral' \(in hf_overrides\)"):
        check({"rope_scaling": {"type": "spiral"}})


def test_the_changes_between_two_configs_are_overrides():
    before = {"a": 1, "b": {"c": 1, "d": 2}, "gone": 3, "same": [1]}
    after = {"a": 1.0, "b": {"c": 1, "d": 4}, "new": None, "same": [1]}

    assert changes(before, after) == {"a": 1.0, "b": {"d": 4}, "new": None, "gone": None}
