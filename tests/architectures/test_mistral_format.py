"""A tiny model in Mistral's own format gives what it gives in Hugging Face's; directories that mix the two."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from mistral_files import rewrite
from tiny_models import write_checkpoint
from tiny_variants import VARIANTS, Tiny

from weft import LLM, SamplingParams
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.errors import CheckpointError, ConfigError
from weft.resolve.engine_config import resolve_engine_config

MODELS = {
    "mistral": VARIANTS["mistral"], "mistral-no-window": VARIANTS["mistral-no-window"],
    "mistral-tied": Tiny("MistralForCausalLM", {"sliding_window": None, "tie_word_embeddings": True}),
    "mixtral": VARIANTS["mixtral"],
}
PARAMS = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True, detokenize=False, prompt_logprobs=0)


def answers(path, **options):
    """Greedy tokens, and log-probabilities of the prompt's, for each prompt."""
    generator = torch.Generator().manual_seed(7)
    prompts = [torch.randint(3, 320, (length,), generator=generator).tolist() for length in (1, 17, 50)]
    with LLM(model=str(path), skip_tokenizer_init=True, max_model_len=128, kv_cache_memory_bytes=4 << 20,
             num_threads=1, use_tqdm_on_load=False, **({"dtype": "float32"} | options)) as llm:
        outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], PARAMS, use_tqdm=False)
    return [(o.outputs[0].token_ids, [entry[token].logprob for entry, token in
                                      zip(o.prompt_logprobs[1:], o.prompt_token_ids[1:], strict=True)])
            for o in outputs]


def config_of(path, **options):
    return resolve_engine_config(EngineArgs(model=str(path), skip_tokenizer_init=True, **options), Machine.detect())


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory):
    """(Hugging Face directory, the same in Mistral's format)."""
    path = tmp_path_factory.mktemp(request.param)
    write_checkpoint(MODELS[request.param], path / "hf")
    return path / "hf", rewrite(path / "hf", path / "mistral")


@pytest.fixture(scope="module")
def hf(tmp_path_factory):
    path = tmp_path_factory.mktemp("dense")
    write_checkpoint(MODELS["mistral"], path / "hf")
    return path / "hf"


def test_the_same_weights_give_the_same_answers(pair):
    hf, mistral = pair

    assert answers(mistral) == answers(hf)


def test_shards_are_one_model(hf, tmp_path):
    assert answers(rewrite(hf, tmp_path, num_files=3)) == answers(hf)


def test_experts_may_stand_in_the_layer_itself(tmp_path):
    write_checkpoint(MODELS["mixtral"], tmp_path / "hf")

    def change(tensors):
        return {name.replace("feed_forward.gate", "gate").replace("feed_forward.experts", "experts"): tensor
                for name, tensor in tensors.items()}

    assert answers(rewrite(tmp_path / "hf", tmp_path / "m", change=change)) == answers(tmp_path / "hf")


def test_soft_caps_change_the_answers(hf, tmp_path):
    capped = rewrite(hf, tmp_path / "a", attn_logit_softcapping=2.0, final_logit_softcapping=3.0)

    assert answers(capped) != answers(hf)


# Float8


def float8(tensors, *, rows=False):
    """Matrices of the layers as float8 with a scale for each (or for each row), and scales of activations."""
    out = {}
    for name, tensor in tensors.items():
        if tensor.dim() != 2 or not name.startswith("layers."):
            out[name] = tensor
            continue
        stem = name.removesuffix(".weight")
        scale = tensor.abs().amax(dim=1, keepdim=True) / 448 if rows else tensor.abs().max().reshape(()) / 448
        out[name] = (tensor / scale).to(torch.float8_e4m3fn)
        out[f"{stem}.qscale_weight"], out[f"{stem}.qscale_act"] = scale, torch.tensor(1.0)
    return out


def dequantized(tensors):
    scales = {name.removesuffix("qscale_weight"): scale for name, scale in tensors.items() if "qscale_weight" in name}
    return {name: t.float() * scales[name.removesuffix("weight")] if t.dtype == torch.float8_e4m3fn else t
            for name, t in tensors.items() if "qscale" not in name}


@pytest.mark.parametrize("rows", [False, True])
def test_float8_weights_are_what_their_scales_make_of_them(pair, tmp_path, rows):
    hf, _ = pair
    quantization = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
    quantized = rewrite(hf, tmp_path / "q", change=lambda t: float8(t, rows=rows), quantization=quantization)
    plain = rewrite(hf, tmp_path / "p", change=lambda t: dequantized(float8(t, rows=rows)))

    assert answers(quantized) == answers(plain)


def test_float8_weights_without_their_scale_are_an_error_that_names_it(hf, tmp_path):
    def change(tensors):
        return {name: t for name, t in float8(tensors).items() if name != "layers.0.attention.wq.qscale_weight"}

    broken = rewrite(hf, tmp_path, change=change, quantization={"qformat_weight": "fp8_e4m3"})

    with pytest.raises(CheckpointError, match=r"layers\.0\.attention\.wq.*weight_scale"):
        answers(broken)


@pytest.mark.parametrize("quantized", [False, True])
def test_scales_of_a_quantized_cache_are_left_out(hf, tmp_path, quantized, caplog):
    def change(tensors):
        tensors = float8(tensors) if quantized else tensors
        return tensors | {"layers.0.attention.kv_fake_quantizer.qscale_act": torch.tensor(2.0)}

    options = {"quantization": {"qformat_weight": "fp8_e4m3"}} if quantized else {}
    answers(rewrite(hf, tmp_path, change=change, **options))

    assert ("1 scales of a quantized cache are not used" in caplog.text) == quantized


# Which files count


def test_a_directory_with_both_is_read_in_mistrals_format(hf, tmp_path):
    both = rewrite(hf, tmp_path)
    for file in hf.iterdir():
        shutil.copy(file, both)

    config = config_of(both)
    assert config.model.config_source == f"{both}/params.json"
    assert config.load.load_format == "mistral"
    assert answers(both) == answers(hf)
    assert config_of(both, config_format="hf").load.load_format == "auto"
    assert answers(both, config_format="hf") == answers(hf)
    assert config_of(both, load_format="safetensors").load.load_format == "safetensors"
    assert answers(both, load_format="safetensors") == answers(hf)


def test_both_formats_may_be_demanded(hf, tmp_path):
    mistral = rewrite(hf, tmp_path / "m")

    assert answers(mistral, config_format="mistral", load_format="mistral") == answers(hf)
    with pytest.raises(ConfigError, match=r"expected a directory with a config\.json"):
        answers(mistral, config_format="hf")
    with pytest.raises(CheckpointError, match=r"no weights: looked for consolidated\*\.safetensors"):
        answers(hf, load_format="mistral")
    with pytest.raises(ConfigError, match=r"with a params\.json"):
        answers(hf, config_format="mistral")


def test_params_beside_hugging_faces_weights_do(hf, tmp_path):
    mistral = rewrite(hf, tmp_path / "m")
    (mistral / "consolidated.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"There is a params\.json, but no consolidated\*\.safetensors"):
        answers(mistral)

    shutil.copy(hf / "model.safetensors", mistral)
    assert answers(mistral, config_format="mistral") == answers(hf)
    shutil.copy(hf / "config.json", mistral)
    assert answers(mistral) == answers(hf)
    assert config_of(mistral).model.config_source.endswith("config.json")


def test_a_config_beside_consolidated_weights_does(hf, tmp_path):
    mistral = rewrite(hf, tmp_path / "m")
    (mistral / "params.json").unlink()
    with pytest.raises(ConfigError, match=r"There are consolidated\*\.safetensors, but no params\.json"):
        answers(mistral)

    shutil.copy(hf / "config.json", mistral)
    assert answers(mistral) == answers(hf)


def test_a_family_that_nobody_named_in_consolidated_files_is_refused(hf, tmp_path):
    mistral = rewrite(hf, tmp_path / "m")
    config = json.loads((hf / "config.json").read_text()) | {"architectures": ["LlamaForCausalLM"]}
    (mistral / "config.json").write_text(json.dumps(config))
    (mistral / "params.json").unlink()

    with pytest.raises(ConfigError, match="does not know how consolidated files name this family's tensors"):
        answers(mistral)


def test_a_tensor_too_many_is_an_error_in_the_files_own_name(hf, tmp_path):
    mistral = rewrite(hf, tmp_path, change=lambda t: t | {"layers.0.attention.extra.weight": torch.ones(2)})

    with pytest.raises(CheckpointError, match=r"layers\.0\.attention\.extra\.weight"):
        answers(mistral)


def test_the_dtype_is_that_of_the_consolidated_files(hf, tmp_path):
    both = rewrite(hf, tmp_path, change=lambda tensors: {name: t.bfloat16() for name, t in tensors.items()})
    shutil.copy(hf / "config.json", both)

    assert config_of(both).model.dtype == "bfloat16"
    assert config_of(both).model.origins["dtype"] == "majority of the tensors in consolidated*.safetensors"
