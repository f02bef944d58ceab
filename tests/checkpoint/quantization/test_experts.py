"""Experts whose matrices are quantized one by one fill a mixture of experts like experts of floats."""

import json
from functools import partial

import pytest
import torch
from quantized_llama import named, opened
from quantizers import compressed_packed, float8, gptq
from safetensors.torch import load_file, save_file
from test_formats import FP8, GPTQ, compressed, logprobs
from tiny_llama import HIDDEN, INTERMEDIATE, LAYERS, make_checkpoint

EXPERTS = 3
MIXTRAL = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": EXPERTS,
           "num_experts_per_tok": 2}
FORMATS = {
    "gptq": (GPTQ | {"desc_act": True}, partial(gptq, act_order=True)),
    "compressed-tensors": (compressed("pack-quantized", num_bits=4, strategy="group", group_size=16)
                           | {"ignore": ["lm_head", "re:.*block_sparse_moe.gate"]}, compressed_packed),
    "fp8": (FP8 | {"weight_block_size": [16, 16], "modules_to_not_convert": ["block_sparse_moe.gate"]},
            partial(float8, block=(16, 16), name=".weight_scale_inv")),
}


@pytest.mark.parametrize(("settings", "quantize"), FORMATS.values(), ids=FORMATS)
def test_experts_compute_what_the_dequantized_ones_do(tmp_path, settings, quantize):
    plain = make_checkpoint(tmp_path / "plain", **MIXTRAL)
    quantized = make_checkpoint(tmp_path / "quantized", **MIXTRAL, quantization_config=settings)
    shared = {name: tensor for name, tensor in load_file(plain / "model.safetensors").items() if ".mlp." not in name}
    floats, stored = dict(shared), dict(shared)
    generator = torch.Generator().manual_seed(0)
    for layer in range(LAYERS):
        moe = f"model.layers.{layer}.block_sparse_moe"
        floats[f"{moe}.gate.weight"] = stored[f"{moe}.gate.weight"] = torch.randn(EXPERTS, HIDDEN, generator=generator)
        for expert in range(EXPERTS):
            for part, shape in (("w1", (INTERMEDIATE, HIDDEN)), ("w2", (HIDDEN, INTERMEDIATE)),
                                ("w3", (INTERMEDIATE, HIDDEN))):
                stem = f"{moe}.experts.{expert}.{part}"
                parts, floats[f"{stem}.weight"] = quantize(torch.randn(shape, generator=generator) * 0.3)
                stored |= named(stem, parts)
    save_file(floats, plain / "model.safetensors")
    save_file(stored, quantized / "model.safetensors")

    assert len(opened(quantized).tensors) == len(floats)
    assert logprobs(quantized) == logprobs(plain)


def test_tensors_of_a_matrix_may_be_in_different_files(tmp_path):
    directory = make_checkpoint(tmp_path, quantization_config=GPTQ)
    parts, value = gptq(torch.randn(48, 32, generator=torch.Generator().manual_seed(0)))
    files = {suffix: f"model-0000{i}.safetensors" for i, suffix in enumerate(parts)}
    for suffix, file in files.items():
        save_file(named("up", {suffix: parts[suffix]}), directory / file)
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {f"up{suffix}": file for suffix, file in files.items()}}))

    (name, weight), = opened(directory).read()

    assert (name, torch.equal(weight, value)) == ("up.weight", True)


def test_pytorch_files_are_read_as_well(tmp_path):
    directory = make_checkpoint(tmp_path, quantization_config=GPTQ)
    parts, value = gptq(torch.randn(48, 32, generator=torch.Generator().manual_seed(0)))
    (directory / "model.safetensors").unlink()
    torch.save(named("up", parts), directory / "pytorch_model.bin")

    assert torch.equal(dict(opened(directory).read())["up.weight"], value)
