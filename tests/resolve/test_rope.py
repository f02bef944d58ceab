"""Every spelling of rotary parameters becomes one typed object; what contradicts itself or is unknown is refused."""

import math

import pytest

from weft.architectures.reader import ConfigReader
from weft.architectures.rope_parameters import KEYS, RopeParameters, layer_types, normalise_rope, read_rope
from weft.errors import ConfigError

LENGTH = {"max_position_embeddings": 256}


def reader(**values):
    return ConfigReader(LENGTH | values, source="/m/config.json")


def test_a_config_that_says_nothing_has_no_parameters():
    assert normalise_rope(reader()) is None
    assert read_rope(reader(rope_scaling=None)) is None
    assert read_rope(reader(original_max_position_embeddings=64)) is None


@pytest.mark.parametrize(("config", "expected"), [
    ({"rope_theta": 5000}, {"rope_theta": 5000.0}),
    ({"rotary_emb_base": 5000}, {"rope_theta": 5000.0}),
    ({"rotary_pct": 0.25}, {"partial_rotary_factor": 0.25}),
    ({"rotary_emb_fraction": 0.5}, {"partial_rotary_factor": 0.5}),
    ({"partial_rotary_factor": 0.4, "rotary_pct": 0.25, "rotary_emb_fraction": 0.5}, {"partial_rotary_factor": 0.4}),
    ({"rope_theta": 1.0, "rope_parameters": {"rope_theta": 5000.0}}, {"rope_theta": 5000.0}),
    ({"rope_scaling": {"type": "linear", "factor": 2}}, {"rope_type": "linear", "factor": 2.0}),
    ({"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2}}, {"rope_type": "linear", "factor": 2.0}),
    ({"rope_parameters": {"rope_type": "linear", "factor": 2}, "rope_scaling": None},
     {"rope_type": "linear", "factor": 2.0}),
    ({"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}, {"mrope_section": (2, 3, 3)}),
    ({"rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]}},
     {"mrope_section": (2, 3, 3)}),
    ({"rope_scaling": {"type": "xdrope", "xdrope_section": [2]} | {"type": "mrope"}}, {"mrope_section": (2,)}),
    ({"rope_scaling": {"type": "xdrope", "xdrope_section": [2, 2], "alpha": 1000}},
     {"rope_type": "xdrope", "xdrope_section": (2, 2), "alpha": 1000.0}),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_scaling": {"type": "linear", "factor": 2}},
     {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}),
    ({"rope_theta": 1e4, "rope_parameters": {"rope_type": "yarn", "factor": 8.0, "rope_theta": 5e5},
      "rope_scaling": {"rope_type": "linear", "factor": 2, "rope_theta": 7e5}},
     {"rope_type": "linear", "factor": 2.0, "rope_theta": 7e5}),
    ({"rope_parameters": {"rope_type": "linear", "factor": 2, "partial_rotary_factor": 0.5}, "rope_scaling": {}},
     {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}),
    ({"rope_scaling": {"type": "telechat3-yarn", "factor": 4.0}},
     {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.07 * math.log(4.0) + 1.0,
      "original_max_position_embeddings": 256}),
    ({"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 64}},
     {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    ({"rope_scaling": {"type": "dynamic", "alpha": 1000.0}},
     {"rope_type": "dynamic", "alpha": 1000.0, "original_max_position_embeddings": 256}),
    ({"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 0.5}},
     {"rope_type": "ntk", "factor": 2.0, "mixed_b": 0.5}),
])
def test_each_spelling_gives_the_same_object(config, expected):
    assert read_rope(reader(**config)) == RopeParameters(**{"rope_type": "default"} | expected)


@pytest.mark.parametrize("kind", [{"type": "su"}, {"type": "su", "rope_type": "longrope"}, {"rope_type": "longrope"},
                                  {"type": "yarn"}])
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_longrope_under_its_old_names_with_its_length_in_either_place(kind, place):
    length = {"original_max_position_embeddings": 64}
    scaling = kind | {"short_factor": [1, 1], "long_factor": [2, 2]} | (length if place == "inside" else {})

    found = read_rope(reader(rope_scaling=scaling, **(length if place == "outside" else {})))

    assert found == RopeParameters(rope_type="longrope", short_factor=(1.0, 1.0), long_factor=(2.0, 2.0), factor=4.0,
                                   original_max_position_embeddings=64)


def test_a_dictionary_by_layer_type_takes_keys_outside_into_each_entry_that_lacks_them():
    c = reader(rope_theta=5e5, rope_parameters={
        "full_attention": {"type": "linear", "factor": 2.0}, "sliding_attention": {"rope_theta": 1e4}})

    assert layer_types(c) == ("full_attention", "sliding_attention")
    assert read_rope(c, "full_attention") == RopeParameters(rope_type="linear", factor=2.0, rope_theta=5e5)
    assert read_rope(c, "sliding_attention") == RopeParameters(rope_type="default", rope_theta=1e4)
    assert read_rope(c, "chunked_attention") is None


def test_what_is_normalised_stays_as_it_is():
    once = normalise_rope(reader(rope_theta=5e5, rope_scaling={"type": "su", "short_factor": [1], "long_factor": [1]}))

    again = normalise_rope(reader(rope_parameters=once.values))

    assert again.values == once.values
    assert again.moves == {}


def test_the_object_remembers_under_which_keys_the_file_has_its_values():
    c = reader(rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0})
    read_rope(c)

    assert c.values_read()["rope_parameters.factor"] == (2.0, "/m/config.json [rope_scaling.factor]")
    assert c.values_read()["rope_parameters.rope_theta"] == (5e5, "/m/config.json [rope_theta]")
    assert c.unread() == LENGTH


@pytest.mark.parametrize(("config", "field", "expected"), [
    ({"rope_scaling": {"type": "spiral"}}, "rope_scaling.type", ", ".join(KEYS)),
    ({"rope_parameters": {"full_attention": {"rope_type": "spiral"}}}, "rope_parameters.full_attention.rope_type",
     "one of default"),
    ({"rope_scaling": {"type": "linear", "rope_type": "yarn"}}, "rope_scaling.rope_type", "the same as type"),
    ({"rope_scaling": {"type": "mrope"}}, "rope_scaling.mrope_section", "three numbers"),
    ({"rope_scaling": {"type": "mrope", "mrope_section": [1, 0.5]}}, "rope_scaling.mrope_section", "whole numbers"),
    ({"rope_scaling": {"type": ["linear"]}}, "rope_scaling.type", "a string"),
    ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor", "a value"),
    ({"rope_scaling": {"type": "dynamic"}}, "rope_scaling.factor", "or alpha"),
    ({"rope_scaling": {"type": "xdrope"}}, "rope_scaling.alpha", "a value"),
    ({"rope_scaling": {"type": "yarn", "factor": 2.0, "beta_fast": -1}}, "rope_scaling.beta_fast", "above 0"),
    ({"rope_scaling": [1]}, "rope_scaling", "an object"),
    ({"rotary_emb_base": 0}, "rotary_emb_base", "above 0"),
    ({"rotary_pct": 2}, "rotary_pct", "(0, 1]"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling.low_freq_factor", "a value"),
])
def test_an_error_names_the_key_as_the_file_spells_it_and_what_is_accepted(config, field, expected):
    c = reader(**config)

    with pytest.raises(ConfigError) as caught:
        for layer_type in layer_types(c) or (None,):
            read_rope(c, layer_type)

    assert caught.value.field == field
    assert expected in caught.value.expected
    assert "/m/config.json" in str(caught.value)
