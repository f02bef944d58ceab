"""Which dtype a model runs in, and why."""

import pytest
from model_dir import write_header, write_model

from weft.errors import CheckpointError, ConfigError
from weft.resolve.config_file import read_config
from weft.resolve.options.dtype import resolve_dtype


def dtype_of(directory, wanted="auto", overrides=None):
    return resolve_dtype(wanted, read_config(directory, overrides or {}), directory)


def test_the_users_choice_counts(tmp_path):
    assert dtype_of(write_model(tmp_path, dtype="float32"), "bfloat16") == ("bfloat16", "option dtype")


@pytest.mark.parametrize(("changes", "expected"), [
    ({"dtype": "bfloat16"}, ("bfloat16", "dtype")),
    ({"torch_dtype": "float16"}, ("float16", "torch_dtype")),
    ({"dtype": "torch.bfloat16"}, ("bfloat16", "dtype")),
    ({"dtype": "half"}, ("float16", "dtype")),
    ({"dtype": "float32"}, ("float32", "dtype")),
    ({"text_config": {"dtype": "bfloat16"}}, ("bfloat16", "text_config.dtype")),
    ({"dtype": None, "torch_dtype": "bfloat16"}, ("bfloat16", "torch_dtype")),
])
def test_auto_is_what_the_config_says(tmp_path, changes, expected):
    assert dtype_of(write_model(tmp_path, **changes)) == expected


def test_an_override_is_named_as_the_source(tmp_path):
    assert dtype_of(write_model(tmp_path), overrides={"dtype": "bfloat16"}) == ("bfloat16", "override")


def test_without_a_word_in_the_config_the_majority_of_bytes_in_the_checkpoint_counts(tmp_path):
    directory = write_model(tmp_path)
    write_header(directory / "model.safetensors", {"a": ("F32", [4], 16), "b": ("BF16", [32], 64),
                                                   "c": ("I64", [100], 800)})

    assert dtype_of(directory) == ("bfloat16", "majority of the tensors")


def test_nothing_known_is_float32(tmp_path):
    assert dtype_of(write_model(tmp_path))[0] == "float32"


@pytest.mark.parametrize("value", ["float8_e4m3fn", "int8", "float64", 16, ["bfloat16"]])
def test_a_dtype_in_the_config_that_weft_cannot_run_in_is_an_error(tmp_path, value):
    with pytest.raises(ConfigError, match=r"dtype = .*config\.json.*expected one of float32, float16, bfloat16"):
        dtype_of(write_model(tmp_path, dtype=value))


@pytest.mark.parametrize("model_type", ["gemma2", "gemma3_text"])
def test_float16_is_refused_where_activations_overflow_it(tmp_path, model_type):
    with pytest.raises(ConfigError, match=f"expected bfloat16 or float32. Activations of {model_type}"):
        dtype_of(write_model(tmp_path, model_type=model_type), "float16")


def test_auto_turns_to_bfloat16_where_float16_overflows(tmp_path, caplog):
    assert dtype_of(write_model(tmp_path, model_type="gemma2", dtype="float16"))[0] == "bfloat16"
    assert "leave the range of float16" in caplog.text


def test_a_broken_checkpoint_is_an_error_here_already(tmp_path):
    directory = write_model(tmp_path)
    (directory / "model.safetensors").write_bytes(b"short")

    with pytest.raises(CheckpointError, match="too short"):
        dtype_of(directory)
