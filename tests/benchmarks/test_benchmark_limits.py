"""The limits of the benchmarks, against numbers worked out by hand for the shape of Qwen3-0.6B and a small MoE."""

from dataclasses import replace

import pytest
from limits import Limits, WeightBytes, weight_bytes
from machine import Bounds
from make_checkpoint import SHAPES, checkpoint_name
from workloads import Workload, decode, prefill

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.models.sizes import model_of, num_active_parameters, num_parameters

KV_BYTES = 28 * 2 * 8 * 128 * 2                 # of a token: layers * (k, v) * heads * head_dim * bfloat16
HEAD = 2 * 151936 * 1024                        # operations of the head for a token
BODY = 2 * 28 * 1024 * (2 * 2048 + 2 * 1024 + 3 * 3072)     # q and o, k and v, gate, up and down
ATTENTION = 28 * 4 * 16 * 128                   # for each token that is seen
# A machine that reads slowly or computes slowly, so that one of the two is the limit.
SLOW_READ = Bounds(num_threads=1, read=1e9, read_by="", bfloat16=1e15, bfloat16_by="", float32=1e15, float32_by="")
SLOW_PRODUCT = Bounds(num_threads=1, read=1e15, read_by="", bfloat16=1e12, bfloat16_by="", float32=1e9, float32_by="")


def spec_of(shape):
    config = SHAPES[shape]
    return families()[config["architectures"][0]].describe(
        ConfigReader(config, source="config.json"))


def limits(bounds, *, quantization=None):
    spec = spec_of("qwen3-0.6b")
    return Limits(spec=spec, dtype="bfloat16", weights=weight_bytes(spec, "bfloat16", quantization), bounds=bounds)


def test_a_decode_reads_all_weights_and_its_own_keys_and_values():
    seconds = (596_049_920 * 2 + (512 + 65 / 2) * KV_BYTES) / 1e9

    assert limits(SLOW_READ).rate(decode(512)) == pytest.approx(1 / seconds)


def test_a_prompt_computes_each_token_and_the_head_once():
    operations = 512 * BODY + HEAD + ATTENTION * 512 * 513 / 2

    assert limits(SLOW_PRODUCT).rate(prefill(512)) == pytest.approx(512 / (operations / 1e12))


def test_a_float32_model_is_bound_by_float32_products():
    spec = spec_of("qwen3-0.6b")
    plain = Limits(spec=spec, dtype="float32", weights=weight_bytes(spec, "float32", None), bounds=SLOW_PRODUCT)

    assert plain.rate(prefill(512)) == pytest.approx(limits(SLOW_PRODUCT).rate(prefill(512)) / 1000)


def test_a_bfloat16_model_is_bound_by_the_faster_product_that_serves_it():
    bounds = Bounds(num_threads=1, read=1, read_by="", bfloat16=1, bfloat16_by="", float32=4, float32_by="", int8=9,
                    int8_by="")

    assert bounds.product("bfloat16") == bounds.product("float16") == bounds.product("float32") == 4
    assert bounds.product("bfloat16", int8_activations=True) == 9
    assert replace(bounds, bfloat16=7).product("bfloat16") == 7
    assert replace(bounds, bfloat16=7).product("float32") == 4


def test_a_shared_prefix_is_read_and_computed_once():
    workload = Workload(key="shared", rate="output", prompt_lens=(110,) * 4, output_len=2, shared_len=100)

    read = 596_049_920 * 2 + (100 + 4 * (10 + 1)) * KV_BYTES
    assert limits(SLOW_READ).decode_seconds(workload) == pytest.approx(read / 1e9)
    seen = 100 * 101 / 2 + 4 * sum(range(101, 111))
    operations = 140 * BODY + 4 * HEAD + ATTENTION * seen
    assert limits(SLOW_PRODUCT).prompt_seconds(workload) == pytest.approx(operations / 1e12)


@pytest.mark.parametrize(("quantization", "bytes_per_weight"), [(None, 2.0), ("int8", 1.004), ("int4", 0.53125)])
def test_quantized_weights_are_read_with_their_scales(quantization, bytes_per_weight):
    spec = spec_of("qwen3-0.6b")

    read = weight_bytes(spec, "bfloat16", quantization).read(1)

    assert read / num_parameters(model_of(spec)) == pytest.approx(bytes_per_weight, rel=2e-3)


def test_a_quantization_of_unknown_size_is_refused():
    with pytest.raises(SystemExit, match="--quantization fp3"):
        weight_bytes(spec_of("qwen3-0.6b"), "bfloat16", "fp3")


def test_a_step_of_more_tokens_reads_more_experts():
    weights = WeightBytes(always=100.0, experts=800.0, share=0.25)

    assert weights.read(1) == 300.0
    assert weights.read(2) == 450.0             # 1 - 0.75 ** 2 of the experts
    assert weights.read(1000) == 900.0


def test_the_small_moe_has_the_sizes_that_it_states():
    spec = spec_of("qwen3-moe-1.5b")

    assert num_parameters(model_of(spec)) / 1e9 == pytest.approx(1.53, abs=0.005)
    assert num_active_parameters(model_of(spec)) / 1e9 == pytest.approx(0.39, abs=0.005)
    assert weight_bytes(spec, "bfloat16", None).read(1) == pytest.approx(2 * num_active_parameters(model_of(spec)))


def test_a_checkpoint_that_is_made_names_layers_and_experts():
    dense, moe = spec_of("qwen3-0.6b"), spec_of("qwen3-moe-1.5b")

    assert checkpoint_name("blocks.7.mixer.q.weight", dense) == "model.layers.7.self_attn.q_proj.weight"
    assert checkpoint_name("blocks.2.ffn.experts.31.up.weight", moe) == "model.layers.2.mlp.experts.31.up_proj.weight"


def test_bytes_of_a_gguf_file_are_those_of_its_tensors(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    import numpy as np
    from limits import gguf_weight_bytes

    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    for name, rows in (("token_embd.weight", 50), ("output.weight", 50), ("blk.0.attn_q.weight", 8)):
        writer.add_tensor(name, np.zeros((rows, 4), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    assert gguf_weight_bytes(spec_of("qwen3-0.6b"), tmp_path / "model.gguf").read(1) == (50 + 8) * 4 * 2
