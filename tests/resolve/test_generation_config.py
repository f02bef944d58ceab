"""Sampling defaults and the ids that end a text."""

import logging

import pytest
from model_dir import write_model

from weft.errors import ConfigError
from weft.resolve.config_file import read_config
from weft.resolve.options.generation import decoder_token_ids, eos_token_ids, sampling_defaults, sampling_origins


def generation(**values):
    return {"generation_config.json": values}


def eos(directory, option="auto"):
    return eos_token_ids(option, read_config(directory, {}), directory, 100)


def test_sampling_keys_are_taken_and_others_are_not(tmp_path):
    directory = write_model(tmp_path, generation(temperature=0.6, top_k=20, max_new_tokens=64, do_sample=True,
                                                 min_p=None, transformers_version="5.0"))

    assert sampling_defaults("auto", {}, directory) == {"temperature": 0.6, "top_k": 20, "max_new_tokens": 64}


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    directory = write_model(tmp_path, generation(top_k=50.0, max_new_tokens=64.0, eos_token_id=[7.0, 2]))

    assert sampling_defaults("auto", {"top_k": 20.0}, directory) == {"top_k": 20, "max_new_tokens": 64}
    assert eos(directory)[:2] == (7, 2)


def test_without_a_file_there_are_no_defaults(tmp_path):
    assert sampling_defaults("auto", {}, write_model(tmp_path)) == {}


def test_weft_as_generation_config_takes_none_of_the_model(tmp_path):
    directory = write_model(tmp_path, generation(temperature=0.6))

    assert sampling_defaults("weft", {}, directory) == {}


def test_another_folders_generation_config_can_be_taken(tmp_path):
    directory = write_model(tmp_path / "m", generation(temperature=0.6))
    other = write_model(tmp_path / "other", generation(temperature=0.2))

    assert sampling_defaults(str(other), {}, directory) == {"temperature": 0.2}


def test_a_folder_without_one_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"expected auto, weft, or a directory with a generation_config\.json"):
        sampling_defaults(str(tmp_path), {}, write_model(tmp_path / "m"))


def test_overrides_are_put_on_top_and_null_removes(tmp_path):
    directory = write_model(tmp_path, generation(temperature=0.6, top_k=20))

    assert sampling_defaults("auto", {"temperature": 1.2, "top_k": None}, directory) == {"temperature": 1.2}
    assert sampling_defaults("weft", {"top_p": 0.5}, directory) == {"top_p": 0.5}


@pytest.mark.parametrize(("key", "value"), [("temperature", -1), ("temperature", "hot"), ("top_p", 2), ("top_k", 1.5),
                                            ("repetition_penalty", 0), ("max_new_tokens", 0), ("min_p", True)])
def test_a_value_out_of_range_is_an_error_that_names_key_and_file(tmp_path, key, value):
    with pytest.raises(ConfigError, match=rf"{key} = .*generation_config\.json\): expected"):
        sampling_defaults("auto", {}, write_model(tmp_path, generation(**{key: value})))
    with pytest.raises(ConfigError, match=rf"{key} = .*override_generation_config\): expected"):
        sampling_defaults("auto", {key: value}, write_model(tmp_path, generation()))


def test_an_override_that_is_no_sampling_key_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"override_generation_config\.max_tokens = 5: expected a key out of"):
        sampling_defaults("auto", {"max_tokens": 5}, write_model(tmp_path))


def test_every_eos_id_of_both_files_ends_a_text(tmp_path):
    directory = write_model(tmp_path, generation(eos_token_id=[7, 2]), eos_token_id=[2, 9])

    assert eos(directory) == (7, 2, 9)


def test_generation_config_weft_keeps_the_models_eos_ids(tmp_path):
    assert eos(write_model(tmp_path, generation(eos_token_id=7)), "weft") == (7, 2)


@pytest.mark.parametrize("files", [
    {"tokenizer_config.json": {"eos_token": "<e>", "added_tokens_decoder": {"5": {"content": "<e>"}}}},
    {"tokenizer_config.json": {"eos_token": {"content": "<e>"}},
     "tokenizer.json": {"added_tokens": [{"id": 5, "content": "<e>"}]}},
    {"tokenizer_config.json": {"eos_token": "<e>"}, "tokenizer.json": {"model": {"vocab": {"<e>": 5}}}},
    {"tokenizer_config.json": {"eos_token": "<e>"}, "vocab.json": {"<e>": 5}},
], ids=["decoder", "added", "vocab", "vocab file"])
def test_the_tokenizers_eos_counts_when_the_configs_name_none(tmp_path, files):
    assert eos(write_model(tmp_path, files, eos_token_id=None)) == (5,)
    assert eos(write_model(tmp_path, files, eos_token_id=3)) == (3,)


def test_a_model_without_any_eos_has_none(tmp_path):
    files = {"tokenizer_config.json": {"eos_token": "<unknown>"}}

    assert eos(write_model(tmp_path, files, without=["eos_token_id"])) == ()


def test_eos_ids_outside_the_vocabulary_are_left_out_with_a_warning(tmp_path, caplog):
    assert eos(write_model(tmp_path, eos_token_id=[2, 100, -1])) == (2,)
    assert "[-1, 100]" in caplog.text


@pytest.mark.parametrize("value", ["2", 2.5, [2, "x"], True, {"a": 1}])
def test_an_eos_id_of_another_type_is_an_error(tmp_path, value):
    with pytest.raises(ConfigError, match=r"eos_token_id = .*expected a token id or a list of them"):
        eos(write_model(tmp_path, eos_token_id=value))


def test_the_defaults_are_logged_once_with_the_source_of_each(tmp_path, caplog):
    directory = write_model(tmp_path, generation(temperature=0.6, top_k=20))
    defaults = sampling_defaults("auto", {"top_k": 5}, directory)

    with caplog.at_level(logging.INFO, logger="weft"):
        origins = sampling_origins(defaults, "auto", {"top_k": 5}, directory)

    assert origins == {"sampling.temperature": str(directory / "generation_config.json"),
                       "sampling.top_k": "override_generation_config"}
    assert [record.message for record in caplog.records] == [
        f"requests start from temperature = 0.6 ({directory / 'generation_config.json'}), "
        "top_k = 5 (override_generation_config)"]


def test_without_defaults_nothing_is_logged(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="weft"):
        assert sampling_origins({}, "auto", {}, write_model(tmp_path)) == {}

    assert caplog.text == ""


def start(directory, **config):
    found = decoder_token_ids("auto", read_config(directory, config), directory, 100)
    return found["decoder_start_token_id"], found["forced_bos_token_id"]


def test_a_decoder_starts_from_its_start_token_or_from_bos(tmp_path):
    directory = write_model(tmp_path, generation(bos_token_id=1, decoder_start_token_id=2, forced_bos_token_id=3))
    assert start(directory, decoder_start_token_id=9) == (2, 3)

    directory = write_model(tmp_path, generation(bos_token_id=1))
    assert start(directory, decoder_start_token_id=9, forced_bos_token_id=8) == (9, None)
    assert start(directory) == (1, None)


def test_without_a_generation_config_the_config_says_what_a_decoder_starts_from(tmp_path):
    directory = write_model(tmp_path)
    (directory / "generation_config.json").unlink(missing_ok=True)

    assert start(directory, decoder_start_token_id=9, forced_bos_token_id=8) == (9, 8)


def test_a_start_token_outside_the_vocabulary_is_refused(tmp_path):
    directory = write_model(tmp_path, generation(decoder_start_token_id=100))

    with pytest.raises(ConfigError, match="decoder_start_token_id"):
        start(directory)
