"""Planted faults: each gives one line that names file and key and what to do, an exit status, and no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_llama import CONFIG, make_checkpoint


def in_config(**changes: object) -> Callable[[Path], None]:
    """Changes keys of config.json; None removes one."""
    def plant(directory: Path) -> None:
        config = {key: value for key, value in (CONFIG | changes).items() if value is not None}
        (directory / "config.json").write_text(json.dumps(config))
    return plant


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).write_text(content) and None


def remove(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def truncate(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def cut_header(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"\xff" * 40)


def index_with_missing_shard(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}))


def nothing(directory: Path) -> None:
    pass


# name: (what is planted, options, what the line must say)
CONFIGURATION = {
    "config.json missing": (remove("config.json"), [], ["config.json"]),
    "broken JSON": (text("config.json", '{"hidden_size": 32,,}'), [], ["config.json", "Line 1, column 20"]),
    "JSON that is no object": (text("config.json", "[1]"), [], ["config.json", "JSON object"]),
    "unknown architecture": (in_config(architectures=["LlamoForCausalLM"]), [],
                             ["LlamoForCausalLM", "LlamaForCausalLM"]),
    "required key missing": (in_config(hidden_size=None), [], ["hidden_size", "config.json"]),
    "key of a wrong type": (in_config(num_hidden_layers="two"), [], ["num_hidden_layers", "'two'", "config.json"]),
    "negative size": (in_config(intermediate_size=-4), [], ["intermediate_size = -4", "config.json"]),
    "heads that do not divide": (in_config(num_key_value_heads=3), [], ["num_key_value_heads = 3", "divisor"]),
    "unknown rope type": (in_config(rope_scaling={"rope_type": "spiral", "factor": 2.0}), [], ["rope_type", "spiral"]),
    "unknown quantization": (in_config(quantization_config={"quant_method": "magic"}), [],
                             ["quantization_config.quant_method = 'magic'", "awq, bitsandbytes", "config.json"]),
    "another quantization": (in_config(quantization_config={"quant_method": "awq", "bits": 4}), ["-q", "gptq"],
                             ["quantization = 'gptq'", "'awq'", "config.json"]),
    "broken generation config": (text("generation_config.json", "{"), [], ["generation_config.json"]),
    "unknown dtype": (nothing, ["--dtype", "int3"], ["dtype = 'int3'", "bfloat16"]),
    "context too long": (nothing, ["--max-model-len", "100k"], ["max_model_len = 100000", "256"]),
    "context of nothing": (nothing, ["--max-model-len", "0"], ["max_model_len = 0"]),
    "odd block size": (nothing, ["--block-size", "12"], ["block_size = 12", "power of two"]),
    "more memory than there is": (nothing, ["--gpu-memory-utilization", "1.5"], ["gpu_memory_utilization = 1.5"]),
    "option without code": (nothing, ["--tensor-parallel-size", "2"], ["tensor_parallel_size = 2"]),
    "unknown load format": (nothing, ["--load-format", "tar"], ["load_format = 'tar'", "safetensors"]),
    "model file missing": (nothing, ["--model-file", "/nowhere.py"], ["model_file", "/nowhere.py"]),
    "chat template missing": (nothing, ["--chat-template", "/nowhere.jinja"], ["chat_template", "/nowhere.jinja"]),
    "steps too small": (nothing, ["--max-num-batched-tokens", "4", "--max-num-seqs", "8"],
                        ["max_num_batched_tokens = 4"]),
}
# These are noticed when the weights are opened.
WEIGHTS = {
    "weights missing": (remove("model.safetensors"), [], ["safetensors"]),
    "truncated safetensors": (truncate, [], ["model.safetensors"]),
    "broken safetensors header": (cut_header, [], ["model.safetensors"]),
    "missing shard": (index_with_missing_shard, [], ["model-00001-of-00001.safetensors"]),
    "weights of another shape": (in_config(intermediate_size=64), [], ["mlp.down_proj.weight", "[32, 48]", "[32, 64]"]),
    "weights of fewer layers": (in_config(num_hidden_layers=3), [],
                                ["blocks.2.mixer.q.weight", "model.layers.2.self_attn.q_proj.weight"]),
    "cache that does not fit": (nothing, ["--kv-cache-memory-bytes", "900t"], ["kv_cache_memory_bytes"]),
}
COMMAND_LINES = {
    "no such directory": (["inspect", "/nowhere"], 1, ["model = '/nowhere'"]),
    "no such config file": (["inspect", "--config", "/nowhere.yaml"], 1, ["/nowhere.yaml"]),
    "no such batch file": (["run-batch", "-i", "/nowhere.jsonl", "-o", "/tmp/x"], 1, ["/nowhere.jsonl"]),
    "output in no directory": (["bench", "latency", "--output-json", "/nowhere/x.json"], 1, ["--output-json"]),
    "no server": (["chat", "--url", "http://127.0.0.1:9/v1", "-q", "hi"], 1, ["http://127.0.0.1:9/v1", "weft serve"]),
    "no server to measure": (["bench", "serve", "--base-url", "http://127.0.0.1:9"], 1, ["http://127.0.0.1:9"]),
    "port out of range": (["serve", "--port", "70000"], 1, ["port = 70000", "65535"]),
    "half of a certificate": (["serve", "--ssl-keyfile", "k.pem"], 1, ["ssl_certfile"]),
    "unknown flag": (["inspect", "--max-modellen", "4"], 2, ["--max-modellen", "--max-model-len"]),
    "no number": (["inspect", "--max-model-len", "long"], 2, ["--max-model-len", "'long'"]),
    "no JSON": (["inspect", "--hf-overrides", "{x}"], 2, ["--hf-overrides", "JSON object"]),
    "value missing": (["inspect", "--dtype"], 2, ["--dtype"]),
    "rate of nothing": (["bench", "serve", "--request-rate", "fast"], 2, ["--request-rate"]),
}


def planted(directory: Path, original: Path, plant: Callable[[Path], None]) -> Path:
    shutil.copytree(original, directory, dirs_exist_ok=True)
    plant(directory)
    return directory


def one_line(ran, status: int, words: list[str]) -> None:
    assert ran.status == status
    assert ran.err.count("\n") == 1, ran.err
    assert "Traceback" not in ran.err and ": error: " in ran.err
    assert [word for word in words if word not in ran.err] == [], ran.err


@pytest.mark.parametrize(("plant", "options", "words"), CONFIGURATION.values(), ids=CONFIGURATION.keys())
def test_a_wrong_configuration_is_told_in_one_line(weft, tmp_path, checkpoint, plant, options, words):
    directory = planted(tmp_path / "model", checkpoint, plant)

    one_line(weft("inspect", directory, *options), 1, words)


@pytest.mark.parametrize(("arguments", "status", "words"), COMMAND_LINES.values(), ids=COMMAND_LINES.keys())
def test_a_wrong_command_line_is_told_in_one_line(weft, arguments, status, words):
    one_line(weft(*arguments), status, words)


@pytest.mark.parametrize(("plant", "options", "words"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights_that_do_not_fit_refuse_the_start(weft, tmp_path, checkpoint, plant, options, words):
    directory = planted(tmp_path / "model", checkpoint, plant)

    ran = weft("bench", "latency", directory, "--no-use-tqdm-on-load", *options)

    assert ran.status == 1 and "Traceback" not in ran.err
    assert ran.err.startswith("weft: error: ")
    assert [word for word in words if word not in ran.err] == [], ran.err


def test_a_checkpoint_without_faults_passes_all_of_these(weft, tmp_path):
    assert weft("inspect", make_checkpoint(tmp_path / "model")).status == 0
