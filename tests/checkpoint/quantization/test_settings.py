"""Where the settings are found, what they may say, and that a name contradicting them is an error."""

import json

import msgspec
import pytest
from quantized_llama import config_of, make_pair, opened
from quantizers import awq, float8, gptq
from test_formats import AWQ, BNB4, FP8, GPTQ, compressed
from tiny_llama import make_checkpoint

from weft.checkpoint.quantization.registry import FORMATS
from weft.config.engine_config import EngineConfig
from weft.config.quantization_methods import ALIASES, READ
from weft.errors import ConfigError
from weft.resolve.config_file import HFConfig
from weft.resolve.files import ModelFiles
from weft.resolve.options.quantization import find_quantization

INT4 = compressed("pack-quantized", num_bits=4, strategy="group", group_size=16)


def without(settings, *keys):
    return {key: value for key, value in settings.items() if key not in keys}


def with_settings(directory, settings):
    return make_checkpoint(directory, quantization_config=settings)


def test_every_method_that_can_be_named_has_a_format():
    assert set(READ) == FORMATS.keys()
    assert set(ALIASES.values()) <= FORMATS.keys()


OLD_AWQ = {"w_bit": 4, "q_group_size": 16, "zero_point": True, "version": "GEMM"}
PLACES = {
    "quantize_config.json of AutoGPTQ": (without(GPTQ, "quant_method"), gptq, "gptq"),
    "quant_config.json of AutoAWQ": (OLD_AWQ, awq, "awq"),
    "hf_quant_config.json of ModelOpt": (
        {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None,
                                                            "exclude_modules": ["lm_head"]}}, float8, "modelopt"),
}


@pytest.mark.parametrize(("place", "settings", "quantize", "method"),
                         [(place, *rest) for place, rest in PLACES.items()], ids=PLACES)
def test_settings_in_a_file_of_their_own_are_found(tmp_path, place, settings, quantize, method):
    file = place.split()[0]
    pair = make_pair(tmp_path, settings, quantize, moved_to=file)

    found = config_of(pair.quantized).model.quantization

    assert (found.method, found.source) == (method, str(pair.quantized / file))
    assert dict(opened(pair.quantized).read()).keys() == dict(opened(pair.plain).read()).keys()


def test_config_json_counts_before_other_files(tmp_path):
    directory = with_settings(tmp_path, AWQ)
    (directory / "quantize_config.json").write_text(json.dumps(GPTQ))

    assert config_of(directory).model.quantization.method == "awq"


def test_compression_config_and_nested_settings_are_found(tmp_path):
    nested = make_checkpoint(tmp_path / "a", text_config={"quantization_config": AWQ, "vocab_size": 259,
                                                          "max_position_embeddings": 256})
    old = make_checkpoint(tmp_path / "b", compression_config=without(INT4, "quant_method"))

    assert config_of(nested).model.quantization.path == "text_config.quantization_config."
    assert config_of(old).model.quantization.method == "compressed-tensors"


def test_settings_travel_to_a_child_process(tmp_path):
    config = config_of(with_settings(tmp_path, INT4))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=EngineConfig) == config


@pytest.mark.parametrize("settings", [{}, None])
def test_empty_settings_are_none(tmp_path, settings):
    assert config_of(with_settings(tmp_path, settings)).model.quantization is None


def test_settings_of_modelopt_without_an_algorithm_are_none(tmp_path):
    directory = make_checkpoint(tmp_path)
    (directory / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": None}}))

    assert config_of(directory).model.quantization is None


@pytest.mark.parametrize("name", [None, "gptq", "auto_gptq", "gptq_marlin"])
def test_the_method_may_be_named_as_the_checkpoint_or_by_an_alias(tmp_path, name):
    assert config_of(with_settings(tmp_path, GPTQ), quantization=name).model.quantization.method == "gptq"


WRONG = {
    "another method": (AWQ, {"quantization": "gptq"}, ["quantization = 'gptq'", "'awq'", "config.json"]),
    "floats": ({}, {"quantization": "awq"}, ["quantization = 'awq'", "int8 or int4"]),
    "no such name": ({}, {"quantization": "int3"}, ["quantization = 'int3'", "compressed-tensors", "int4"]),
    "a method without code": ({}, {"quantization": "quark"}, ["quantization = 'quark'", "no code"]),
    "unknown method": ({"quant_method": "magic"}, {}, ["quantization_config.quant_method = 'magic'", "config.json",
                                                       "awq, bitsandbytes, compressed-tensors"]),
    "method without code": ({"quant_method": "aqlm"}, {}, ["quantization_config.quant_method = 'aqlm'", "config.json"]),
    "no method": ({"bits": 4}, {}, ["quantization_config.quant_method = None"]),
    "no object": ("gptq", {}, ["quantization_config = 'gptq'", "an object"]),
    "gptq bits": (GPTQ | {"bits": 5}, {}, ["quantization_config.bits = 5", "2, 3, 4, 8"]),
    "gptq bits of a wrong type": (GPTQ | {"bits": "4"}, {}, ["quantization_config.bits = '4'", "an integer"]),
    "gptq group size": (GPTQ | {"group_size": 0}, {}, ["quantization_config.group_size = 0"]),
    "gptq layout": (GPTQ | {"checkpoint_format": "marlin"}, {}, ["checkpoint_format = 'marlin'", "gptq_v2"]),
    "gptq pattern": (GPTQ | {"dynamic": {"-:(": {}}}, {}, ["dynamic.-:( = '('", "regular expression"]),
    "awq layout": (AWQ | {"version": "gemv"}, {}, ["quantization_config.version = 'gemv'", "gemm"]),
    "awq bits": (AWQ | {"bits": 3}, {}, ["quantization_config.bits = 3"]),
    "awq without zeros": (AWQ | {"zero_point": False}, {}, ["zero_point = False"]),
    "list of names": (AWQ | {"modules_to_not_convert": [1]}, {}, ["modules_to_not_convert = 1"]),
    "fp8 block": (FP8 | {"weight_block_size": [128]}, {}, ["weight_block_size = [128]"]),
    "fp8 activations": (FP8 | {"activation_scheme": "odd"}, {}, ["activation_scheme = 'odd'"]),
    "bitsandbytes bits": (BNB4 | {"load_in_8bit": True}, {}, ["load_in_4bit"]),
    "compressed format": (INT4 | {"format": "marlin-24"}, {}, ["format = 'marlin-24'", "pack-quantized"]),
    "compressed sparsity": (INT4 | {"sparsity_config": {"format": "sparse-24-bitmask"}}, {},
                            ["quantization_config.sparsity_config.format = 'sparse-24-bitmask'"]),
    "compressed rotation": (INT4 | {"transform_config": {"config_groups": {"R1": {}}}}, {}, ["transform_config"]),
    "compressed strategy": (compressed("pack-quantized", num_bits=4, strategy="token"), {},
                            ["config_groups.group_0.weights.strategy = 'token'"]),
    "compressed bits": (compressed("pack-quantized", num_bits=9), {}, ["config_groups.group_0.weights.num_bits = 9"]),
    "compressed ignore": (INT4 | {"ignore": ["re:("]}, {}, ["ignore = '('", "regular expression"]),
    "modelopt": ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, {}, ["quant_algo = 'W4A8_AWQ'", "NVFP4"]),
}


@pytest.mark.parametrize(("settings", "options", "words"), WRONG.values(), ids=WRONG)
def test_settings_that_cannot_be_used_are_named_with_key_value_and_file(tmp_path, settings, options, words):
    directory = with_settings(tmp_path, settings)

    with pytest.raises(ConfigError) as caught:
        opened(directory, **options)

    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize("name", [None, "gguf", "int8"])
def test_a_gguf_file_says_itself_how_it_is_quantized(tmp_path, name):
    files = ModelFiles("m", tmp_path, "local file", gguf=tmp_path / "m.gguf")

    assert find_quantization(HFConfig({}, "m.gguf"), files, name) is None
    with pytest.raises(ConfigError, match=r"quantization = 'awq': expected 'gguf'"):
        find_quantization(HFConfig({}, "m.gguf"), files, "awq")


def test_an_unknown_key_is_warned_about(tmp_path, caplog):
    opened(make_pair(tmp_path, AWQ | {"twist": 3}, awq).quantized)

    assert "quantization_config.twist = 3" in caplog.text


def test_settings_that_no_tensor_follows_are_said_to_be_so(tmp_path):
    assert "but no tensor is" in opened(with_settings(tmp_path, AWQ)).cost()
