"""A quantized checkpoint that lacks something or holds something odd is refused before a weight is copied."""

from functools import partial

import pytest
import torch
from quantized_llama import make_pair, opened
from quantizers import awq, bitsandbytes4, bitsandbytes8, compressed_int8, compressed_packed, float8, gptq, nvfp4
from test_formats import AWQ, BNB4, FP8, GPTQ, compressed

from weft import LLM
from weft.errors import CheckpointError

UP = "model.layers.0.mlp.up_proj"
INT4 = compressed("pack-quantized", num_bits=4, strategy="group", group_size=16)
INT8 = compressed("int-quantized", strategy="channel")
BNB8 = {"quant_method": "bitsandbytes", "load_in_8bit": True}
STATE = ".weight.quant_state.bitsandbytes__nf4"


def without(suffix):
    return lambda stored: stored.pop(UP + suffix)


def holding(suffix, tensor):
    return lambda stored: stored.update({UP + suffix: tensor})


def as_dtype(suffix, dtype):
    return lambda stored: stored.update({UP + suffix: stored[UP + suffix].to(dtype)})


FAULTS = {
    "gptq without scales": (GPTQ, gptq, without(".scales"), [".scales is missing", ".qweight, .qzeros"]),
    "gptq without zeros": (GPTQ, gptq, without(".qzeros"), [".qzeros is missing"]),
    "gptq without codes": (GPTQ, gptq, without(".qweight"), [".qweight is missing"]),
    "gptq without an order": (GPTQ | {"desc_act": True}, gptq, without(".g_idx"), [".g_idx is missing"]),
    "gptq of other groups": (GPTQ | {"group_size": 32}, gptq, None, [".qzeros is int32 [2, 6], expected [1, 6]",
                                                                     ".qzeros is int32 [2, 4], expected [1, 4]"]),
    "gptq of other bits": (GPTQ | {"bits": 8}, gptq, None, ["expected [1, 12]"]),
    "gptq with floats as well": (GPTQ, gptq, holding(".weight", torch.zeros(48, 32)), ["is stored twice"]),
    "gptq codes of a wrong dtype": (GPTQ, gptq, as_dtype(".qweight", torch.int16), [".qweight is int16 [4, 48]",
                                                                                   "expected int32"]),
    "gptq codes of one dimension": (GPTQ, gptq, holding(".qweight", torch.zeros(4, dtype=torch.int32)),
                                    ["expected two dimensions"]),
    "awq scales of a wrong shape": (AWQ, awq, holding(".scales", torch.zeros(3, 48)),
                                    [".scales is float32 [3, 48], expected [2, 48]"]),
    "awq scales of a wrong dtype": (AWQ, awq, as_dtype(".scales", torch.int32), [".scales is int32"]),
    "awq of groups that do not divide": (AWQ | {"group_size": 20}, awq, None, ["32 inputs", "groups of 20"]),
    "packed without a shape": (INT4, compressed_packed, without(".weight_shape"), [".weight_shape is missing"]),
    "packed of another shape": (INT4, compressed_packed, holding(".weight_shape", torch.tensor([48, 64])),
                                ["[48, 64]"]),
    "packed, a shape of too much": (INT4, compressed_packed, holding(".weight_shape", torch.zeros(5000)),
                                    ["weight_shape is float32 [5000]", "too large"]),
    "packed without scales": (INT4, compressed_packed, without(".weight_scale"), [".weight_scale is missing"]),
    "packed without zeros": (compressed("pack-quantized", num_bits=4, strategy="group", group_size=16, symmetric=False),
                             compressed_packed, None, [".weight_zero_point is missing"]),
    "packed with zeros that are not to be": (INT4, partial(compressed_packed, symmetric=False), None,
                                             [".weight_zero_point is there", "symmetric = true"]),
    "int8 without scales": (INT8, compressed_int8, without(".weight_scale"), [".weight_scale is missing"]),
    "int8 that are floats": (INT8, compressed_int8, as_dtype(".weight", torch.float32), [".weight is float32",
                                                                                        "expected int8"]),
    "fp8 without scales": (FP8, float8, without(".weight_scale"), [".weight_scale is missing"]),
    "fp8 blocks without scales": (FP8 | {"weight_block_size": [16, 16]},
                                  partial(float8, block=(16, 16), name=".weight_scale_inv"),
                                  without(".weight_scale_inv"), [".weight_scale_inv is missing"]),
    "fp8 of other blocks": (FP8 | {"weight_block_size": [32, 32]},
                            partial(float8, block=(16, 16), name=".weight_scale_inv"), None, ["expected [2, 1]"]),
    "fp8 that are floats": (FP8, float8, as_dtype(".weight", torch.float32), [".weight is float32"]),
    "nf4 without a state": (BNB4, bitsandbytes4, without(STATE), ["quant_state.bitsandbytes__fp4 is missing"]),
    "nf4 with a broken state": (BNB4, bitsandbytes4, holding(STATE, torch.tensor([123], dtype=torch.uint8)),
                                ["is no JSON"]),
    "nf4 with a state of nothing": (BNB4, bitsandbytes4, holding(STATE, torch.tensor(list(b'{"shape": [48, -1]}'),
                                                                                     dtype=torch.uint8)),
                                    ["shape = [48, -1]"]),
    "nf4 of another length": (BNB4, bitsandbytes4, holding(".weight", torch.zeros(7, 1, dtype=torch.uint8)),
                              [".weight is uint8 [7, 1]", "expected 768 bytes"]),
    "nf4 without scales": (BNB4, bitsandbytes4, without(".weight.absmax"), [".weight.absmax is missing"]),
    "nf4 without scales of scales": (BNB4, bitsandbytes4, without(".weight.nested_absmax"),
                                     ["nested_absmax is missing"]),
    "int8 of bitsandbytes without scales": (BNB8, bitsandbytes8, without(".SCB"), [".SCB is missing"]),
    "int8 of bitsandbytes in tiles": (BNB8, bitsandbytes8, holding(".weight_format",
                                                                   torch.tensor(2, dtype=torch.uint8)), ["[2]"]),
    "nvfp4 without a factor": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, nvfp4, without(".weight_scale_2"),
                               [".weight_scale_2 is missing"]),
    "nvfp4 that is said to be fp8": ({"quant_method": "modelopt", "quant_algo": "FP8"}, nvfp4, None, ["NVFP4"]),
}


@pytest.mark.parametrize(("settings", "quantize", "change", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_with_the_names(tmp_path, settings, quantize, change, words):
    pair = make_pair(tmp_path, settings, quantize, change=change)

    with pytest.raises(CheckpointError) as caught:
        opened(pair.quantized)

    assert str(pair.quantized) in str(caught.value)
    assert "mlp.up_proj" in str(caught.value)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_all_faults_are_in_one_report(tmp_path):
    def change(stored):
        for layer in (0, 1):
            del stored[f"model.layers.{layer}.mlp.up_proj.scales"]

    with pytest.raises(CheckpointError) as caught:
        opened(make_pair(tmp_path, AWQ, awq, change=change).quantized)

    assert "2 matrices are not stored as awq" in str(caught.value)
    assert "model.layers.{0..1}.mlp.up_proj" in str(caught.value)


def test_groups_without_scales_are_told_when_they_are_read(tmp_path):
    change = holding(".g_idx", torch.arange(32, dtype=torch.int32))
    pair = make_pair(tmp_path, GPTQ, gptq, change=change)

    with pytest.raises(CheckpointError, match=f"{UP}.g_idx: groups from 0 to 31, there are 2"):
        dict(opened(pair.quantized).read())


def test_the_load_report_names_weights_not_their_parts(tmp_path):
    def change(stored):
        for suffix in (".qweight", ".qzeros", ".scales"):
            stored[f"model.layers.7.mlp.up_proj{suffix}"] = stored.pop(UP + suffix)

    pair = make_pair(tmp_path, AWQ, awq, change=change)

    with pytest.raises(CheckpointError) as caught:
        LLM(model=str(pair.quantized), skip_tokenizer_init=True, use_tqdm_on_load=False)

    assert "model.layers.7.mlp.up_proj.weight  awq [48, 32]" in str(caught.value)
    assert "blocks.0.ffn.up.weight" in str(caught.value)


def test_scales_of_a_quantized_cache_are_left_out_and_counted(tmp_path):
    def change(stored):
        stored["model.layers.0.self_attn.k_scale"] = stored["model.layers.1.self_attn.v_scale"] = torch.ones(1)

    checkpoint = opened(make_pair(tmp_path, FP8, float8, change=lambda s: change_with_clones(s, change)).quantized)

    assert not any(name.endswith("_scale") for name in checkpoint.tensors)
    assert "2 scales of a quantized cache are not used" in checkpoint.cost()


def change_with_clones(stored, change):
    """safetensors wants memory of its own for each tensor."""
    change(stored)
    for name, tensor in stored.items():
        stored[name] = tensor.clone()


def bias(value):
    return lambda stored: stored.update({f"{UP}.bias": torch.full((48,), value)})


def test_a_bias_of_zeros_that_the_model_has_no_place_for_is_left_out(tmp_path):
    zeros = make_pair(tmp_path / "a", GPTQ, gptq, change=bias(0.0))
    others = make_pair(tmp_path / "b", GPTQ, gptq, change=bias(0.5))

    LLM(model=str(zeros.quantized), skip_tokenizer_init=True, use_tqdm_on_load=False).close()
    with pytest.raises(CheckpointError, match=r"up_proj\.bias"):
        LLM(model=str(others.quantized), skip_tokenizer_init=True, use_tqdm_on_load=False)
