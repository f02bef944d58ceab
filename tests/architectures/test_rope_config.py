"""Rope parameters are read from old and new configs alike, and what cannot be used is refused by name."""

from __future__ import annotations

import pytest

from weft.architectures.reader import ConfigReader
from weft.architectures.rope import rope
from weft.architectures.spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    NTKAlphaScaling,
    NTKScaling,
    ProportionalScaling,
    Rope,
    YarnScaling,
)
from weft.errors import ConfigError

BASE = {"hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 256}


def reader(**values) -> ConfigReader:
    return ConfigReader(BASE | values)


def parameters(**values) -> ConfigReader:
    return reader(rope_parameters=values)


def test_without_keys_the_familys_defaults_count():
    assert rope(reader()) == Rope(theta=10000.0, rotary_dim=16)
    assert rope(reader(), theta=5e5, partial=0.25, interleaved=True) == Rope(theta=5e5, rotary_dim=4, interleaved=True)


@pytest.mark.parametrize("config", [
    {"rope_theta": 5000.0},
    {"rotary_emb_base": 5000},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}},
    {"rope_theta": 1.0, "rope_parameters": {"rope_theta": 5000.0}},                     # the inner one counts
    {"rope_theta": 5000.0, "rope_scaling": {"type": "default"}},
    {"rope_theta": 5000.0, "rope_scaling": None},
], ids=["legacy", "gpt-neox", "transformers 5", "both", "default scaling", "null scaling"])
def test_the_base_is_found_in_every_spelling(config):
    c = reader(**config)

    assert rope(c) == Rope(theta=5000.0, rotary_dim=16)
    assert c.unread().keys() <= set(BASE)


@pytest.mark.parametrize("config", [
    {"partial_rotary_factor": 0.5}, {"rotary_pct": 0.5}, {"rope_pct": 0.5}, {"rotary_emb_fraction": 0.5},
    {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
])
def test_the_rotated_part_of_a_head_is_found_in_every_spelling(config):
    assert rope(reader(**config)).rotary_dim == 8


def test_head_dim_counts_before_hidden_size_and_rotary_dim_before_both():
    assert rope(reader(head_dim=32)).rotary_dim == 32
    assert rope(reader(head_dim=32), rotary_dim=8).rotary_dim == 8


@pytest.mark.parametrize(("values", "expected"), [
    ({"rope_type": "linear", "factor": 4.0}, LinearScaling(factor=4.0)),
    ({"rope_type": "dynamic", "factor": 2}, DynamicScaling(factor=2.0, original_max_position=256)),
    ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 64},
     Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=64)),
    ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
     YarnScaling(factor=4.0, original_max_position=64)),
    ({"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 64, "beta_fast": 16, "mscale": 0.8,
      "mscale_all_dim": 0.5, "attention_factor": 1.5, "truncate": False},
     YarnScaling(factor=4.0, original_max_position=64, beta_fast=16.0, mscale=0.8, mscale_all_dim=0.5,
                 attention_factor=1.5, truncate=False)),
    ({"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2] * 8,
      "original_max_position_embeddings": 64},
     LongRopeScaling(short_factor=(1.0,) * 8, long_factor=(2.0,) * 8, original_max_position=64, factor=4.0)),
    ({"rope_type": "ntk", "factor": 4.0, "mixed_b": 0.5}, NTKScaling(factor=4.0, mixed_b=0.5)),
    ({"rope_type": "dynamic", "alpha": 1000.0}, NTKAlphaScaling(alpha=1000.0)),
    ({"rope_type": "dynamic", "factor": 2, "max_trained_positions": 32},
     DynamicScaling(factor=2.0, original_max_position=32)),
    ({"rope_type": "deepseek_llama_scaling", "factor": 4.0, "original_max_position_embeddings": 64},
     YarnScaling(factor=4.0, original_max_position=64)),
    ({"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2] * 8, "factor": 4.0,
      "original_max_position_embeddings": 64, "short_mscale": 1.1, "long_mscale": 1.2},
     LongRopeScaling(short_factor=(1.0,) * 8, long_factor=(2.0,) * 8, original_max_position=64, factor=4.0,
                     short_mscale=1.1, long_mscale=1.2)),
    ({"rope_type": "proportional", "partial_rotary_factor": 0.25, "factor": 2.0},
     ProportionalScaling(rotated=4, factor=2.0)),
    ({"rope_type": "proportional"}, ProportionalScaling(rotated=16)),
], ids=["linear", "dynamic", "llama3", "yarn", "yarn with all keys", "longrope", "ntk", "alpha", "trained length",
        "deepseek_llama_scaling", "longrope with mscale", "proportional", "proportional, all"])
@pytest.mark.parametrize("place", ["rope_parameters", "rope_scaling"])
def test_each_rope_type_reads_its_keys_and_leaves_none_over(place, values, expected):
    c = reader(**{place: values})

    assert rope(c).scaling == expected
    assert c.unread().keys() <= set(BASE)


@pytest.mark.parametrize("kind", [{"type": "su"}, {"rope_type": "longrope", "type": "su"}, {"type": "yarn"}])
def test_old_names_of_longrope_mean_longrope(kind):
    scaling = rope(reader(original_max_position_embeddings=64,
                          rope_scaling=kind | {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8})).scaling

    assert isinstance(scaling, LongRopeScaling)
    assert scaling.original_max_position == 64


def test_the_configs_own_original_length_counts_before_the_one_inside():
    c = reader(original_max_position_embeddings=128,
               rope_parameters={"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64})

    assert rope(c).scaling.original_max_position == 128


def test_each_type_of_layer_may_have_its_own_parameters():
    c = parameters(full_attention={"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                   sliding_attention={"rope_type": "default", "rope_theta": 1e4})

    assert rope(c, layer_type="full_attention") == Rope(theta=1e6, rotary_dim=16, scaling=LinearScaling(factor=8.0))
    assert rope(c, layer_type="sliding_attention") == Rope(theta=1e4, rotary_dim=16)
    assert c.unread().keys() <= set(BASE)


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 8}


@pytest.mark.parametrize(("config", "field", "expected"), [
    ({"rope_parameters": {"rope_type": "spiral"}}, "rope_parameters.rope_type", "longrope"),
    ({"rope_scaling": {"type": "mllama4", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
     "rope_scaling.type", "default, linear"),
    ({"rope_scaling": {"rope_type": "xdrope", "alpha": 2.0}}, "rope_scaling.rope_type", "default, linear"),
    ({"rope_scaling": {"rope_type": "default", "use_fope": True}}, "rope_scaling.rope_type", "default, linear"),
    ({"rope_scaling": {"type": "linear", "rope_type": "yarn"}}, "rope_scaling.rope_type", "as type = 'linear'"),
    ({"rope_parameters": {"rope_type": "linear"}}, "rope_parameters.factor", "a value"),
    ({"rope_parameters": {"rope_type": "linear", "factor": 0}}, "rope_parameters.factor", "above 0"),
    ({"rope_parameters": {"rope_type": "linear", "factor": "4"}}, "rope_parameters.factor", "a finite number"),
    ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}},
     "rope_parameters.high_freq_factor", "at least low_freq_factor = 4.0"),
    ({"rope_parameters": LONG | {"long_factor": [1.0] * 7}}, "rope_parameters.long_factor", "8 numbers"),
    ({"rope_parameters": LONG | {"short_factor": [1.0] * 7 + [0]}}, "rope_parameters.short_factor", "above 0"),
    ({"rope_theta": -1.0}, "rope_theta", "above 0"), ({"rope_theta": 10**400}, "rope_theta", "a finite number"),
    ({"partial_rotary_factor": 1.5}, "partial_rotary_factor", "(0, 1]"),
    ({"head_dim": 15}, "head_dim", "even"),
    ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rope_parameters", "one set of parameters"),
    ({"max_position_embeddings": None, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
     "max_position_embeddings", "a length"),
])
def test_what_cannot_be_used_is_refused_with_its_path_and_what_was_expected(config, field, expected):
    with pytest.raises(ConfigError) as error:
        rope(reader(**config))

    assert error.value.field == field
    assert expected in error.value.expected


def test_a_key_that_the_rope_type_does_not_use_is_reported_as_unread():
    c = parameters(rope_type="linear", factor=2.0, beta_fast=32.0)
    rope(c)

    assert "rope_parameters.beta_fast" in c.unread()
