"""`weft models` and `weft inspect`: what they say, checked against what is true by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gguf
import programmed_llama
import pytest
import torch
from gguf_models import write_gguf
from isa_levels import native_levels
from safetensors.torch import load_file, save_file
from tiny_llama import make_checkpoint
from transformers import AutoModelForCausalLM, LlamaConfig

from weft.architectures import words
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.architectures.sample import SAMPLE
from weft.architectures.spec import DecoderSpec
from weft.cli.models import features
from weft.cli.tables import _width, human_count, plain_table
from weft.config.human_bytes import human_bytes
from weft.config.machine import Machine
from weft.config.topology import cpu_list
from weft.errors import CheckpointError
from weft.llm import LLM
from weft.models.registry import ModelRegistry

# Of the tiny checkpoint: q and o, k and v, three matrices of the MLP, two norms; then the table and the last norm.
BLOCK_PARAMETERS = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32
PARAMETERS = 2 * BLOCK_PARAMETERS + 259 * 32 + 32
ROOT = Path(__file__).parent.parent.parent
PROGRAMMED = str(Path(programmed_llama.__file__).resolve())


def gemma3() -> DecoderSpec:
    return families()["Gemma3ForCausalLM"].describe(ConfigReader(SAMPLE | {"sliding_window": 512}))


def test_models_lists_every_architecture(weft):
    listed = {entry["name"] for entry in json.loads(weft("models", "--json").out)["architectures"]}

    assert set(families()) < listed


@pytest.mark.parametrize("entry", families().values(), ids=lambda entry: entry.name)
def test_every_architecture_has_a_summary_a_source_and_features(entry):
    row = features(entry)

    assert row["summary"] and row["source"], row
    assert all(row.values()) or row["attention"] is None, row      # None: the sample config does not suit the family


@pytest.mark.parametrize(("name", "column", "expected"), [
    ("BloomForCausalLM", "positions", "ALiBi"), ("GPT2LMHeadModel", "positions", "learned"),
    ("LlamaForCausalLM", "positions", "rope"), ("MistralForCausalLM", "attention", "grouped-query, window 4096"),
    ("GPT2LMHeadModel", "attention", "multi-head, bias"), ("FalconForCausalLM", "attention", "multi-query"),
    ("Qwen3ForCausalLM", "attention", "grouped-query, q/k norm"), ("Olmo2ForCausalLM", "norms", "RMSNorm after"),
    ("Gemma2ForCausalLM", "norms", "RMSNorm before and after"), ("MixtralForCausalLM", "ffn", "experts, gated silu"),
    ("OPTForCausalLM", "ffn", "relu, bias"), ("GPTNeoXForCausalLM", "other", "parallel blocks"),
    ("Gemma2ForCausalLM", "other", "scaled embeddings, logits soft cap 30, tied head"),
])
def test_features_are_those_of_the_family(name, column, expected):
    assert features(families()[name])[column] == expected


def test_models_has_two_columns_that_fit_into_80(weft):
    lines = weft("models").out.splitlines()

    assert lines[1].split() == ["architecture", "models"]
    assert ["LlamaForCausalLM", "Llama 1 to 3.x"] in [line.split(maxsplit=1) for line in lines]
    assert max(map(_width, lines)) <= 80


def test_models_with_a_name_shows_what_weft_can_do_with_it(weft):
    lines = {line.partition("  ")[0]: line for line in weft("models", "llamaforcausallm").out.splitlines()}

    assert lines["runs as"].endswith("weft's own code, or Transformers'") and lines["GGUF"].endswith(" yes")
    assert lines["media"].endswith(" no") and lines["attention"].endswith("grouped-query")
    assert weft("models", "LlamaForCausalLM").out.startswith("LlamaForCausalLM")


def test_what_a_cell_says_is_what_code_and_tests_have(weft):
    support = {entry["name"]: entry["support"] for entry in json.loads(weft("models", "--json").out)["architectures"]}

    assert (support["LlamaForCausalLM"]["GGUF"], support["LlamaForCausalLM"]["pooling"]) == ("yes", "yes")
    assert (support["BertModel"]["GGUF"], support["BertModel"]["pooling"]) == ("yes", "yes")
    assert support["GPTJForCausalLM"]["GGUF"] == "no"                    # its description has no GGUF names
    assert {cells["tested"] for cells in support.values()} == {"yes"}


def test_models_lists_what_only_transformers_code_runs(weft):
    support = {entry["name"]: entry["support"] for entry in json.loads(weft("models", "--json").out)["architectures"]}

    assert support["EsmModel"] == dict.fromkeys(support["EsmModel"], "no") | {
        "runs as": "transformers", "tested": "yes"}
    assert support["LlamaForCausalLM"]["runs as"] == "native or transformers"


def test_a_word_finds_names_without_code_too(weft):
    out = weft("models", "baichuan").out

    assert out.startswith("0 architectures")
    assert "Known to vLLM, without code here: BaiChuanForCausalLM, BaichuanForCausalLM." in out
    assert "without code here" not in weft("models").out


def test_models_shows_parts_when_asked(weft):
    out = weft("models", "bloom", "--parts").out

    assert "ALiBi" in out and "All that generate: chunked prefill" in out


def test_models_shows_what_a_plugin_registered(weft, monkeypatch):
    monkeypatch.setattr(ModelRegistry, "models", {})
    monkeypatch.setattr("weft.cli.models.load_plugins", lambda names: ModelRegistry.register_model(
        "PluginForCausalLM", programmed_llama.MyLlama))

    [entry] = json.loads(weft("models", "pluginfor", "--json").out)["architectures"]

    assert entry["summary"] == "registered as programmed_llama.MyLlama"
    assert entry["support"]["runs as"] == "programmed" and entry["support"]["tested"] == "no"


def test_models_says_what_is_wrong_with_a_registered_model(weft, monkeypatch, tmp_path):
    monkeypatch.setenv("WEFT_CACHE_ROOT", str(tmp_path))
    monkeypatch.setattr(ModelRegistry, "models", {})
    ModelRegistry.register_model("PluginForCausalLM", "no_such_module:Model")

    [entry] = json.loads(weft("models", "pluginfor", "--json").out)["architectures"]

    assert entry["support"]["runs as"] == "nothing" and "No module named 'no_such_module'" in entry["summary"]


def test_the_table_of_the_docs_and_the_results_of_tests_are_current():
    command = [sys.executable, ROOT / "tools" / "model_table.py", "--check"]

    said = subprocess.run(command, capture_output=True, text=True)

    assert said.stdout == "current\n", said.stdout + said.stderr


def test_inspect_says_that_transformers_code_runs_a_model(weft, checkpoint):
    said = weft("inspect", checkpoint, "--model-impl", "transformers").out

    assert "LlamaForCausalLM, by Transformers' code" in said


def test_models_can_be_filtered_by_a_word(weft):
    out = weft("models", "mixtral").out

    assert out.startswith("1 architectures") and "MixtralForCausalLM" in out and "LlamaForCausalLM" not in out


def test_inspect_tells_parameters_bytes_and_cache_counted_by_hand(weft, checkpoint):
    found = json.loads(weft("inspect", checkpoint, "--json").out)

    assert found["sizes"]["parameters"] == PARAMETERS
    assert found["sizes"]["weight_bytes"] == 4 * PARAMETERS
    assert found["sizes"]["kv_bytes_per_token"] == 2 * 2 * 2 * 8 * 4         # k and v, 2 layers, 2 heads of 8, float32
    assert found["layers"] == [{
        "layers": "0-1", "numbers": [0, 1], "attention": "4 heads, 2 kv heads of 8",
        "positions": "rope, base 10000, 8 dims", "ffn": "gated silu 48", "norms": "RMS 1e-05; before",
        "parameters": BLOCK_PARAMETERS, "cache_bytes_per_token": 2 * 2 * 8 * 4, "state_bytes": 0}]


def test_inspect_tells_how_weights_are_quantized_and_what_that_costs(weft, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "tiny")
    config = checkpoint / "config.json"
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": settings}))
    name = "model.layers.0.mlp.up_proj"
    state = load_file(checkpoint / "model.safetensors")
    state[f"{name}.weight"] = state[f"{name}.weight"].to(torch.float8_e4m3fn)
    save_file(state | {f"{name}.weight_scale": torch.ones(1)}, checkpoint / "model.safetensors")

    found = json.loads(weft("inspect", checkpoint, "--json").out)

    assert found["settings"]["quantization"] == {"value": "fp8", "source": str(config)}
    assert "1 of 20 tensors are quantized (fp8) and become float32" in found["sizes"]["checkpoint"]
    assert found["sizes"]["weight_bytes"] == 4 * PARAMETERS
    assert found["unread_keys"] == {}


@pytest.mark.parametrize("model_file", [(), ("--model-file", f"{PROGRAMMED}:MyLlama")], ids=["described", "programmed"])
def test_inspect_tells_what_codes_cost_only_where_no_kernel_takes_them(weft, tmp_path, model_file):
    config = LlamaConfig(hidden_size=256, num_hidden_layers=1, num_attention_heads=4, intermediate_size=256,
                         vocab_size=320)
    path = write_gguf(AutoModelForCausalLM.from_config(config), tmp_path / "m.gguf", write=as_q8_0)

    found = {isa: json.loads(weft("inspect", path, "--json", "--cpu-isa", isa, *model_file).out)["sizes"]["checkpoint"]
             for isa in ("reference", "auto")}

    assert "9 of 12 tensors are quantized (Q8_0) and become bfloat16" in found["reference"]
    assert found["auto"] == ("12 tensors (Q8_0, float32) in 1 file(s)" if native_levels() else found["reference"])


def as_q8_0(name, tensor):
    kind = gguf.GGMLQuantizationType.Q8_0
    is_matrix = tensor.dim() > 1
    return (gguf.quants.quantize(tensor.numpy(), kind), kind) if is_matrix else (tensor.numpy(), None)


def test_inspect_plans_and_chooses_as_the_engine_does(weft, checkpoint):
    options = {"kv_cache_memory_bytes": 1 << 20, "max_num_seqs": 4, "max_num_batched_tokens": 64}
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]

    found = json.loads(weft("inspect", checkpoint, "--json", *flags).out)

    with LLM(str(checkpoint), **options, use_tqdm_on_load=False) as llm:
        plan, kernels = llm.collective_rpc("memory_plan")[0], llm.collective_rpc("list_kernels")[0]
    assert {key: found["memory_plan"][key] for key in plan} == plan
    assert found["kernels"] == kernels


def test_inspect_tells_where_each_value_comes_from(weft, checkpoint):
    settings = json.loads(weft("inspect", checkpoint, "--json", "--hf-overrides.rope_theta=5000").out)["settings"]

    assert settings["rope_parameters.rope_theta"] == {"value": 5000, "source": "override [rope_theta]"}
    assert settings["hidden_size"] == {"value": 32, "source": str(checkpoint / "config.json")}
    assert settings["partial_rotary_factor"]["source"] == "default of the family"


def test_inspect_tells_what_the_engine_would_use_of_the_machine_and_why(weft, checkpoint):
    ran = weft("inspect", checkpoint, "--json", "--num-threads", "1", "--cpu-isa", "reference")
    settings, machine = json.loads(ran.out)["settings"], Machine.detect()

    assert settings["num_threads"] == {"value": 1, "source": "option num_threads"}
    assert settings["cpus"] == {"value": cpu_list(machine.cores.value), "source": machine.cores.source}
    assert settings["cpu_isa"] == {"value": "reference", "source": "option cpu_isa"}
    assert settings["memory_bytes"] == {"value": machine.memory_bytes.value, "source": machine.memory_bytes.source}
    assert settings["nodes.0.cpus"]["source"] == machine.nodes.source


def test_inspect_needs_no_weights_and_says_so(weft, tmp_path):
    directory = make_checkpoint(tmp_path / "model")
    (directory / "model.safetensors").unlink()

    ran = weft("inspect", directory)

    assert ran.status == 0
    assert "safetensors" in ran.out and "Memory plan" in ran.out


def test_inspect_starts_with_the_summary_and_the_memory_plan(weft, checkpoint):
    out = weft("inspect", checkpoint).out

    places = [out.index(text) for text in ("LlamaForCausalLM, described by weft", "every tensor has a home",
                                           "Memory plan", "Description", "num_threads")]
    assert places == sorted(places)


def test_inspect_shows_each_value_of_the_description_that_is_no_default(weft, tmp_path):
    directory = make_checkpoint(tmp_path / "granite", architectures=["GraniteForCausalLM"], model_type="granite",
                                residual_multiplier=0.25, attention_multiplier=0.5)

    found = json.loads(weft("inspect", directory, "--json").out)["description"]

    assert found["blocks.0-1"] == {"kind": "BlockSpec", "values": {"residual_scale": 0.25}}
    assert found["blocks.0-1.mixer"]["values"] == {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "scale": 0.5}
    assert found["blocks.0-1.mixer.positions"]["values"] == {"theta": 10000.0, "rotary_dim": 8}
    assert list(found)[:2] == ["model", "embedding"] and list(found)[-2:] == ["final_norm", "head"]
    assert "residual_scale = 0.25" in weft("inspect", directory).out


@pytest.mark.parametrize("options", [[], ["--model-file", PROGRAMMED]], ids=["described", "programmed"])
@pytest.mark.parametrize("changes", [{"num_hidden_layers": 3}, {"num_hidden_layers": 1}, {"intermediate_size": 40}],
                         ids=["home without a tensor", "tensor without a home", "shape"])
def test_inspect_ends_as_loading_does_where_weights_do_not_fit(weft, tmp_path, options, changes):
    directory = make_checkpoint(tmp_path / "model", **changes)

    ran = weft("inspect", directory, *options)

    with pytest.raises(CheckpointError) as loading:
        LLM(str(directory), **({"model_file": PROGRAMMED} if options else {}), use_tqdm_on_load=False)
    assert ran.status == 1
    assert "would fail" in ran.out and "Kernels" in ran.out
    assert ran.err.partition("weft: error: ")[2].strip() == str(loading.value)


def test_inspect_passes_what_loads(weft, checkpoint):
    described, programmed = weft("inspect", checkpoint), weft("inspect", checkpoint, "--model-file", PROGRAMMED)

    assert (described.status, programmed.status) == (0, 0)
    assert "every tensor has a home" in programmed.out


def test_inspect_says_where_headers_do_not_tell_whether_weights_load(weft, checkpoint, tmp_path):
    code = Path(PROGRAMMED).read_text()
    assert "load_weights(weights, " in code
    (tmp_path / "mine.py").write_text(code.replace(
        "load_weights(weights, ", "load_weights(((n, x) for n, x in weights if x.abs().max().item() < 1e3), "))

    ran = weft("inspect", checkpoint, "--model-file", tmp_path / "mine.py")

    assert ran.status == 0
    assert "Headers alone do not tell" in ran.out


def test_inspect_lists_the_keys_that_nothing_read(weft, tmp_path):
    directory = make_checkpoint(tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"secret_sauce": 7}))

    assert "secret_sauce" in weft("inspect", directory).out.partition("does not use")[2]


def test_an_override_that_nothing_reads_is_an_error_that_names_what_would_work(weft, checkpoint):
    ran = weft("inspect", checkpoint, "--hf-overrides.text_config.rms_norm_eps=1e-5")

    assert ran.status == 1
    assert "hf_overrides.text_config = {'rms_norm_eps': 1e-05}: expected keys that this config has" in ran.err
    assert "without it would work: rms_norm_eps." in ran.err


def test_inspect_config_prints_each_value_with_its_source_and_whether_it_is_used(weft, checkpoint):
    ran = weft("inspect", checkpoint, "--config", "--json", "--hf-overrides.rope_theta=5000", "--dtype", "bfloat16")

    found = json.loads(ran.out)
    assert found["file"] == str(checkpoint / "config.json")
    assert found["values"]["hidden_size"] == {"value": 32, "source": found["file"], "is_used": True}
    assert found["values"]["rope_parameters.rope_theta"] == {
        "value": 5000, "source": "override [rope_theta]", "is_used": True}
    assert found["values"]["dtype"] == {"value": "bfloat16", "source": "option dtype", "is_used": True}
    assert found["values"]["model_type"]["is_used"] is True
    assert found["values"]["rms_norm_eps"]["is_used"] is True


def test_inspect_config_names_the_keys_of_mistrals_format(weft, checkpoint, tmp_path):
    params = {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "hidden_dim": 48,
              "vocab_size": 259, "norm_eps": 1e-5}
    for file in checkpoint.glob("tokenizer*"):
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "params.json").write_text(json.dumps(params))
    save_file({"norm.weight": torch.ones(32, dtype=torch.bfloat16)}, tmp_path / "consolidated.safetensors")

    found = json.loads(weft("inspect", tmp_path, "--config", "--json").out)

    file = str(tmp_path / "params.json")
    assert (found["file"], found["error"]) == (file, None)
    assert found["values"]["hidden_size"] == {"value": 32, "source": f"{file} [dim]", "is_used": True}
    assert found["values"]["hidden_act"]["source"] == "default of Mistral's format"
    assert found["values"]["dtype"]["value"] == "bfloat16"


@pytest.mark.parametrize("arguments", [["--config"], ["--print-config"]])
def test_inspect_config_prints_a_table_of_a_model_that_nothing_describes_too(weft, tmp_path, arguments):
    directory = make_checkpoint(tmp_path / "model")

    ran = weft("inspect", *arguments, directory, "--hf-overrides", '{"architectures": ["NeverHeardOf"]}')

    assert ran.status == 0
    assert "hidden_size" in ran.out and "override" in ran.out
    assert "cannot be described: architectures" in ran.out


def test_inspect_says_what_does_not_fit_instead_of_the_plan(weft, checkpoint):
    ran = weft("inspect", checkpoint, "--kv-cache-memory-bytes", "900t")

    assert ran.status == 0
    assert "does not fit. kv_cache_memory_bytes = 900000000000000" in ran.out


def test_kernels_can_be_asked_for_alone(weft, checkpoint):
    ran = weft("inspect", checkpoint, "--kernels", "--dtype", "bfloat16")

    assert "Memory plan" not in ran.out and "attention" in ran.out


def test_equal_layers_are_one_row_however_they_alternate():
    rows = words.patterns(gemma3().blocks)

    assert [(layers, block.mixer.window) for layers, block in rows] == [("0-4 6-10", 512), ("5 11", None)]


@pytest.mark.parametrize(("layers", "text"), [
    ([0], "0"), ([0, 1, 2], "0-2"), ([0, 2, 4, 6], "0 2 … 6"), ([0, 1, 5], "0-1 5"), ([3, 5], "3 5"),
])
def test_layer_numbers_are_written_short(layers, text):
    assert words.layer_words(layers) == text


def test_a_plain_table_is_aligned_and_names_its_columns():
    table = plain_table(("name", "tokens"), [["a", "5"], ["long name", "1,000"]], right=("tokens",))

    assert table.splitlines() == ["name       tokens", "---------  ------", "a               5", "long name   1,000"]


def test_sizes_are_told_for_people():
    assert (human_bytes(512), human_bytes(1536), human_bytes(3 * 2 ** 30)) == ("512 B", "1.50 KiB", "3.00 GiB")
    assert (human_count(999), human_count(1_240_000_000)) == ("999", "1.24 B")
