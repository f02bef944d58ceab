"""How many tokens a sequence may have: which key says so, rope factors, the tokenizer, and the user's wish."""

import pytest
from model_dir import write_model

from weft.errors import ConfigError
from weft.resolve.config_file import read_config
from weft.resolve.options.max_len import resolve_max_len

LONGROPE = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0],
            "original_max_position_embeddings": 128}


def max_len(tmp_path, wanted=None, *, files=None, disable_sliding_window=False, without=(), **changes):
    directory = write_model(tmp_path, files, without=without, **changes)
    return resolve_max_len(wanted, read_config(directory, {}), directory, disable_sliding_window=disable_sliding_window)


def test_unset_and_minus_one_are_the_models_length_which_may_shrink(tmp_path):
    assert max_len(tmp_path) == (512, False, "max_position_embeddings")
    assert max_len(tmp_path, -1) == (512, False, "max_position_embeddings")


def test_a_wish_within_the_models_length_is_fixed(tmp_path):
    assert max_len(tmp_path, 512) == (512, True, "option max_model_len")
    assert max_len(tmp_path, 7) == (7, True, "option max_model_len")


def test_a_wish_above_it_is_an_error_that_names_the_key(tmp_path):
    with pytest.raises(ConfigError, match="max_model_len = 513: expected at most 512, the model's max_position_emb"):
        max_len(tmp_path, 513)


@pytest.mark.parametrize("key", ["n_positions", "max_seq_len", "seq_length", "model_max_length", "max_target_positions",
                                 "max_sequence_length", "max_seq_length", "seq_len"])
def test_every_spelling_counts(tmp_path, key):
    assert max_len(tmp_path, without=["max_position_embeddings"], **{key: 300}) == (300, False, key)


def test_the_smallest_of_several_counts(tmp_path):
    assert max_len(tmp_path, n_positions=300, seq_length=400) == (300, False, "n_positions")


def test_a_nested_text_config_counts(tmp_path):
    found = max_len(tmp_path, text_config={"max_position_embeddings": 64})

    assert found == (64, False, "text_config.max_position_embeddings")


@pytest.mark.parametrize(("rope", "expected"), [
    ({"rope_type": "linear", "factor": 4.0}, 2048),
    ({"type": "dynamic", "factor": 2.0}, 1024),
    ({"rope_type": "linear", "factor": 0.5}, 512),
    ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, 512),
    ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}, 512),
    ({"rope_type": "default", "rope_theta": 10000.0}, 512),
])
def test_a_rope_factor_multiplies_where_the_config_states_the_trained_length(tmp_path, rope, expected):
    assert max_len(tmp_path, rope_scaling=rope)[0] == expected
    assert max_len(tmp_path, rope_parameters=rope)[0] == expected


def test_gemma_3_states_the_extended_length(tmp_path):
    assert max_len(tmp_path, model_type="gemma3_text", rope_scaling={"rope_type": "linear", "factor": 8.0})[0] == 512


def test_the_largest_factor_of_a_dictionary_by_layer_type_counts(tmp_path):
    rope = {"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {"rope_type": "default"}}

    assert max_len(tmp_path, rope_parameters=rope)[0] == 1024


@pytest.mark.parametrize("factor", ["8", None, -1, 0, True, float("inf"), pytest.param(10**400, id="huge")])
def test_a_factor_that_is_no_positive_number_is_an_error(tmp_path, factor):
    with pytest.raises(ConfigError, match=r"rope_scaling\.factor = "):
        max_len(tmp_path, rope_scaling={"rope_type": "linear", "factor": factor})


def test_a_rope_type_that_is_no_string_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"rope_scaling\.rope_type = \['linear'\]"):
        max_len(tmp_path, rope_scaling={"rope_type": ["linear"], "factor": 2.0})


@pytest.mark.parametrize("length", [1e308, 10**400], ids=["float", "integer"])
def test_a_length_without_end_is_no_overflow(tmp_path, length):
    rope = {"type": "linear", "factor": 9.0}

    assert max_len(tmp_path, 1000, max_position_embeddings=length, rope_scaling=rope)[0] == 1000


def test_longrope_takes_the_original_length_unasked_and_allows_the_extended_one(tmp_path):
    assert max_len(tmp_path, rope_scaling=LONGROPE)[:2] == (128, False)
    assert max_len(tmp_path, 512, rope_scaling=LONGROPE)[:2] == (512, True)


def test_longropes_original_length_may_stand_beside_it(tmp_path):
    rope = {key: value for key, value in LONGROPE.items() if not key.startswith("original")}

    assert max_len(tmp_path, rope_scaling=rope, original_max_position_embeddings=64)[0] == 64


def test_the_tokenizers_length_counts_when_it_is_smaller(tmp_path):
    found = max_len(tmp_path, files={"tokenizer_config.json": {"model_max_length": 256}})

    assert found == (256, False, "model_max_length of tokenizer_config.json")


@pytest.mark.parametrize("value", [int(1e30), 1e30, 100_000, None, "256"])
def test_a_tokenizers_length_that_says_nothing_does_not_count(tmp_path, value):
    assert max_len(tmp_path, files={"tokenizer_config.json": {"model_max_length": value}})[0] == 512


def test_a_model_that_states_no_length_takes_any_wish_without_a_warning(tmp_path, caplog):
    found = max_len(tmp_path, 100_000, without=["max_position_embeddings"])

    assert found == (100_000, True, "option max_model_len")
    assert "max_model_len" not in caplog.text


def test_no_key_at_all_is_2048_with_a_warning(tmp_path, caplog):
    assert max_len(tmp_path, without=["max_position_embeddings"])[0] == 2048
    assert "max_model_len 2048" in caplog.text


def test_null_and_zero_are_no_length(tmp_path):
    assert max_len(tmp_path, n_positions=None, seq_length=0)[0] == 512


@pytest.mark.parametrize("value", ["512", -4, True, 1.5, [512], float("nan"), float("inf")])
def test_a_length_of_another_type_is_an_error_that_names_key_and_file(tmp_path, value):
    with pytest.raises(ConfigError, match=r"max_position_embeddings = .*config\.json.*a number of tokens"):
        max_len(tmp_path, max_position_embeddings=value)


def test_disabling_the_window_makes_it_the_limit(tmp_path):
    assert max_len(tmp_path, disable_sliding_window=True, sliding_window=100)[0] == 100
    assert max_len(tmp_path, disable_sliding_window=True, sliding_window=None)[0] == 512
    with pytest.raises(ConfigError, match="sliding_window, which disable_sliding_window makes the limit"):
        max_len(tmp_path, 200, disable_sliding_window=True, sliding_window=100)
