"""Every format loads as the matrices that its codes and scales stand for, to the last bit, and so computes the same."""

from functools import partial

import pytest
import torch
from held_weights import planned_and_held
from isa_levels import native_levels
from quantized_llama import make_pair, opened
from quantizers import (
    awq,
    bitsandbytes4,
    bitsandbytes8,
    compressed_int8,
    compressed_packed,
    float8,
    gptq,
    nvfp4,
)

from weft import LLM, SamplingParams
from weft.ops.native import unavailable


def compressed(form, *, activations=None, **weights):
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "symmetric": True} | weights,
             "input_activations": activations, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"],
            "config_groups": {"group_0": group}, "quantization_status": "compressed",
            "global_compression_ratio": None, "kv_cache_scheme": None}


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": True, "desc_act": False, "damp_percent": 0.01}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True, "version": "gemm"}
BNB4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16", "llm_int8_skip_modules": ["lm_head"]}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}
DYNAMIC = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
FORMATS = {
    "gptq 4 bits": (GPTQ, gptq),
    "gptq 2 bits": (GPTQ | {"bits": 2}, partial(gptq, bits=2)),
    "gptq 8 bits, one group": (GPTQ | {"bits": 8, "group_size": -1}, partial(gptq, bits=8, group_size=-1)),
    "gptq asymmetric": (GPTQ | {"sym": False}, partial(gptq, symmetric=False)),
    "gptq asymmetric, one group": (GPTQ | {"sym": False, "group_size": -1},
                                   partial(gptq, symmetric=False, group_size=-1)),
    "gptq 8 bits, asymmetric, one group": (GPTQ | {"bits": 8, "sym": False, "group_size": -1},
                                           partial(gptq, bits=8, symmetric=False, group_size=-1)),
    "gptq act-order": (GPTQ | {"desc_act": True, "sym": False}, partial(gptq, symmetric=False, act_order=True)),
    "gptq act-order, unequal groups": (GPTQ | {"desc_act": True, "group_size": 20},
                                       partial(gptq, group_size=20, act_order=True)),
    "gptq v2": (GPTQ | {"checkpoint_format": "gptq_v2", "sym": False}, partial(gptq, symmetric=False, less_one=False)),
    "awq": (AWQ, awq),
    "compressed-tensors int4": (compressed("pack-quantized", num_bits=4, strategy="group", group_size=16),
                                compressed_packed),
    "compressed-tensors int4 asymmetric": (
        compressed("pack-quantized", num_bits=4, strategy="group", group_size=16, symmetric=False),
        partial(compressed_packed, symmetric=False)),
    "compressed-tensors int4 act-order": (
        compressed("pack-quantized", num_bits=4, strategy="group", group_size=16, actorder="group"),
        partial(compressed_packed, act_order=True)),
    "compressed-tensors int8 weights, a scale for each row": (
        compressed("pack-quantized", strategy="channel"), partial(compressed_packed, bits=8, group_size=-1)),
    "compressed-tensors int4 asymmetric, a scale for each row": (
        compressed("pack-quantized", num_bits=4, strategy="channel", symmetric=False),
        partial(compressed_packed, group_size=-1, symmetric=False)),
    "compressed-tensors w8a8": (compressed("int-quantized", strategy="channel", activations=DYNAMIC), compressed_int8),
    "compressed-tensors w8a8 asymmetric": (compressed("int-quantized", strategy="channel", symmetric=False),
                                           partial(compressed_int8, symmetric=False)),
    "compressed-tensors w8a8, one scale": (compressed("int-quantized", strategy="tensor"),
                                           partial(compressed_int8, per_tensor=True)),
    "compressed-tensors fp8": (compressed("float-quantized", type="float", strategy="tensor"), float8),
    "compressed-tensors fp8, a scale for each row": (compressed("float-quantized", type="float", strategy="channel"),
                                                     partial(float8, per_row=True)),
    "compressed-tensors fp8, blocks": (
        compressed("float-quantized", type="float", strategy="block", block_structure=[32, 32]),
        partial(float8, block=(32, 32))),
    "compressed-tensors nvfp4": (
        compressed("nvfp4-pack-quantized", type="float", num_bits=4, strategy="tensor_group", group_size=16),
        partial(nvfp4, packed_name=".weight_packed", factor_name=".weight_global_scale", is_divisor=True)),
    "fp8": (FP8, float8),
    "fp8, a scale for each row": (FP8, partial(float8, per_row=True)),
    "fp8, blocks": (FP8 | {"weight_block_size": [32, 32]},
                    partial(float8, block=(32, 32), name=".weight_scale_inv")),
    "fp8, blocks with exponents": (FP8 | {"weight_block_size": [32, 32], "scale_fmt": "ue8m0"},
                                   partial(float8, block=(32, 32), name=".weight_scale_inv", exponents=True)),
    "bitsandbytes nf4, scales quantized": (BNB4, bitsandbytes4),
    "bitsandbytes nf4": (BNB4 | {"bnb_4bit_use_double_quant": False}, partial(bitsandbytes4, nested=False)),
    "bitsandbytes fp4": (BNB4 | {"bnb_4bit_quant_type": "fp4"}, partial(bitsandbytes4, kind="fp4")),
    "bitsandbytes nf4, a last block that is short": (BNB4, partial(bitsandbytes4, block=100)),
    "bitsandbytes int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6.0},
                          bitsandbytes8),
    "modelopt fp8": ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}, float8),
    "modelopt nvfp4": ({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}, nvfp4),
}
each_format = pytest.mark.parametrize(("settings", "quantize"), FORMATS.values(), ids=FORMATS)


@each_format
def test_a_matrix_reads_as_what_it_stands_for(tmp_path, settings, quantize, caplog):
    pair = make_pair(tmp_path, settings, quantize)

    checkpoint = opened(pair.quantized)
    read = dict(checkpoint.read())

    assert checkpoint.tensors.keys() == opened(pair.plain).tensors.keys()
    for name, value in pair.values.items():
        assert torch.equal(read[name], value), name
        assert checkpoint.tensors[name].shape == tuple(value.shape)
    assert caplog.records == []                 # no key of the settings is unknown


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "compressed-tensors w8a8"])
def test_the_model_computes_what_the_dequantized_one_does(tmp_path, name):
    settings, quantize = FORMATS[name]                  # w8a8 rounds activations: test_integer_activations.py
    pair = make_pair(tmp_path, settings, quantize)

    assert logprobs(pair.quantized) == logprobs(pair.plain)


def logprobs(directory, *, cpu_isa="reference"):
    """What the model says of a few tokens; by plain torch, so that equal weights give equal numbers."""
    params = SamplingParams(temperature=0, max_tokens=4, logprobs=5, prompt_logprobs=5, ignore_eos=True)
    with LLM(model=str(directory), skip_tokenizer_init=True, use_tqdm_on_load=False, cpu_isa=cpu_isa) as llm:
        output = llm.generate([{"prompt_token_ids": [3, 1, 4, 1, 5, 9, 2, 6]}], params, use_tqdm=False)[0]
    steps = [*output.prompt_logprobs[1:], *output.outputs[0].logprobs]
    return [{token: entry.logprob for token, entry in step.items()} for step in steps]


@pytest.mark.parametrize("name", ["gptq 4 bits", "gptq asymmetric", "gptq act-order", "awq",
                                  "compressed-tensors int4 act-order", "compressed-tensors w8a8", "bitsandbytes int8"])
def test_integers_can_be_had_as_codes(tmp_path, name):
    settings, quantize = FORMATS[name]
    pair = make_pair(tmp_path, settings, quantize)
    weight = "model.layers.1.mlp.down_proj.weight"

    matrix = opened(pair.quantized).decoded(weight)

    assert matrix.packable().group_size == (48 if "8" in name else 16)
    assert (matrix.columns is not None) == ("act-order" in name)
    x = torch.randn(3, 48)
    given = x if matrix.columns is None else x[:, matrix.columns]
    torch.testing.assert_close(given @ matrix.packable().dequantize().t(), x @ pair.values[weight].t())


@pytest.mark.parametrize(("name", "has_codes"), [("gptq 4 bits", True), ("awq", True), ("gptq act-order", False),
                                                 ("compressed-tensors int4 act-order", False), ("fp8", False)])
def test_codes_in_the_order_of_the_columns_are_offered_to_kernels(tmp_path, name, has_codes):
    pair = make_pair(tmp_path, *FORMATS[name])
    weight = "model.layers.1.mlp.down_proj.weight"
    checkpoint = opened(pair.quantized)

    codes = checkpoint.quantized(weight)

    assert (codes is not None) == checkpoint.has_codes(weight) == has_codes
    assert codes is None or torch.equal(codes.dequantize(), pair.values[weight])


@pytest.mark.parametrize("cpu_isa", ["reference", *native_levels()[:1]])
@pytest.mark.parametrize("name", FORMATS)
def test_the_memory_plan_counts_what_is_held(tmp_path, name, cpu_isa):
    pair = make_pair(tmp_path, *FORMATS[name])

    planned, held = planned_and_held(pair.quantized, cpu_isa=cpu_isa)

    assert planned == pytest.approx(held, rel=0.02)


def test_codes_of_three_bits_run_over_the_ends_of_words(tmp_path):
    pair = make_pair(tmp_path, GPTQ | {"bits": 3}, partial(gptq, bits=3, symmetric=False),
                     which=lambda name: name.endswith("o_proj.weight"))          # 32 rows, as the format wants

    read = dict(opened(pair.quantized).read())

    assert len(pair.values) == 2
    assert all(torch.equal(read[name], value) for name, value in pair.values.items())


def test_symmetric_codes_have_one_zero_and_no_offsets(tmp_path):
    pair = make_pair(tmp_path, *FORMATS["gptq 4 bits"])

    weight = opened(pair.quantized).quantized("model.layers.0.mlp.up_proj.weight")

    assert (weight.bits, weight.zero, weight.offsets) == (4, 8, None)


@pytest.mark.parametrize("name", [
    "gptq 4 bits", "gptq act-order", "awq", "compressed-tensors w8a8", "gptq asymmetric, one group",
    "gptq 8 bits, asymmetric, one group", "compressed-tensors int4 asymmetric, a scale for each row",
    "compressed-tensors w8a8 asymmetric"])
def test_kernels_that_compute_with_codes_answer_alike(tmp_path, name):
    if unavailable("cpu", "auto") is not None:
        pytest.skip(unavailable("cpu", "auto"))
    pair = make_pair(tmp_path, *FORMATS[name])

    ours, plain = logprobs(pair.quantized, cpu_isa="auto"), logprobs(pair.plain, cpu_isa="auto")

    assert max(abs(step[token] - other.get(token, step[token]))
               for step, other in zip(ours, plain, strict=True) for token in step) < 0.05


def test_the_cost_is_said(tmp_path, caplog):
    pair = make_pair(tmp_path, *FORMATS["gptq 4 bits"])

    logprobs(pair.quantized)

    said = [record.message for record in caplog.records if "quantized" in record.message]
    assert len(said) == 1
    assert "14 of 20 tensors are quantized (gptq) and become float32 as they are loaded" in said[0]
    assert f"{2 * (32 * 32 * 2 + 32 * 16 * 2 + 32 * 48 * 3) * 4 / 1024:.2f} KiB of memory instead of" in said[0]


def test_values_take_the_dtype_that_the_model_computes_in(tmp_path):
    pair = make_pair(tmp_path, *FORMATS["awq"])
    name = "model.layers.0.self_attn.q_proj.weight"

    checkpoint = opened(pair.quantized, dtype="bfloat16")

    assert checkpoint.tensors[name].dtype == torch.bfloat16
    assert torch.equal(dict(checkpoint.read([name]))[name], pair.values[name].bfloat16())
