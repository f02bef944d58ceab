"""Sizes of a config are sane before anything is made of them."""

import time

import pytest
from model_dir import CONFIG, write_model

from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve import adapt_config_dict, get_config
from weft.resolve.config_file import normalise
from weft.resolve.engine_config import resolve_model
from weft.resolve.files import find_model
from weft.resolve.sizes import BOUNDS, MAX_LAYERS


@pytest.mark.parametrize("key", BOUNDS)
@pytest.mark.parametrize("place", ["the config", "a nested config", "an override", "a list"])
def test_a_size_out_of_its_bounds_is_refused_by_name_and_source(key, place):
    low, high = BOUNDS[key]
    for number in (low - 1, high + 1, 10**30):
        values, overrides = dict(CONFIG), {}
        if place == "a nested config":
            values["vision_config"] = {key: number}
        elif place == "an override":
            overrides[key] = number
        else:
            values[key] = number if place == "the config" else [low, number]

        with pytest.raises(ConfigError, match=f"expected an integer from {low} to {high}") as caught:
            normalise(values, overrides, "c.json")

        assert caught.value.field == ("vision_config." if place == "a nested config" else "") + key
        assert caught.value.source == ("hf_overrides" if place == "an override" else "c.json")


@pytest.mark.parametrize("key", BOUNDS)
def test_sizes_at_their_bounds_and_none_are_left_alone(key):
    for value in (*BOUNDS[key], None):
        assert normalise(CONFIG | {"vision_config": {key: value}}, {}, "c.json").values["vision_config"][key] == value


def test_what_is_no_number_is_left_for_its_reader():
    assert normalise(CONFIG | {"hidden_size": "wide", "n_group": True}, {}, "c.json").values["hidden_size"] == "wide"


def test_a_whole_number_may_be_written_with_a_point(tmp_path):
    directory = write_model(tmp_path, hidden_size=32.0, max_position_embeddings=512.0, vocab_size=100.0)

    config = get_config(directory, trust_remote_code=False)

    assert repr((config.hidden_size, config.max_position_embeddings)) == "(32, 512)"
    assert repr(resolved(directory).vocab_size) == "100"


def resolved(path, **options):
    args = EngineArgs(model=str(path), **options)
    return resolve_model(args, find_model(args))


@pytest.mark.parametrize("read", [
    lambda path: get_config(path, trust_remote_code=False), resolved,
    lambda path: resolved(path, hf_overrides=lambda config: config),
], ids=["object", "engine", "function as override"])
def test_a_hundred_million_layers_are_refused_at_once(tmp_path, read):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"num_hidden_layers = 100000000 .*from 1 to {MAX_LAYERS}"):
        read(write_model(tmp_path, num_hidden_layers=10**8))

    assert time.monotonic() - began < 30      # importing Transformers is most of it


def test_mistrals_layers_are_counted_before_their_windows_are_listed():
    params = {"dim": 64, "n_layers": 10**8, "n_heads": 4, "vocab_size": 100, "sliding_window": [64, None]}

    with pytest.raises(ConfigError, match=r"n_layers = 100000000 \(in params\.json\)"):
        adapt_config_dict(params)


@pytest.mark.parametrize(("field", "value"), [
    ("hidden_size", -4), ("vocab_size", 0), ("vocab_size", "many"), ("max_position_embeddings", "many")])
def test_no_overrides_hide_no_fault_of_the_file(tmp_path, field, value):
    directory = write_model(tmp_path, **{field: value})

    with pytest.raises(ConfigError) as caught:
        resolved(directory, hf_overrides=None, override_generation_config=None)

    assert (caught.value.field, caught.value.source) == (field, str(tmp_path / "config.json"))
