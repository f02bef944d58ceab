"""The memory plan counts weights as they are held: codes as they are packed, floats where no kernel takes codes."""

import gguf
import pytest
import torch
from gguf_blocks import KINDS, random_rows
from gguf_models import title, write_gguf
from held_weights import planned_and_held
from isa_levels import native_levels
from machines import made_machine
from programmed_llama import MyLlama
from programmed_mixtral import MyMixtral
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig, Qwen3MoeConfig

from weft import EngineArgs
from weft.checkpoint.loader import open_weights
from weft.engine.memory.plan import plan_memory
from weft.errors import MemoryPlanError
from weft.models.build import build_model, layer_context
from weft.ops.linear import Epilogue, LinearCase, choose_linear, empty_weight, product_bytes
from weft.resolve.engine_config import resolve_engine_config

# Wide enough for blocks of 256, with a vocabulary that is no multiple of 64.
SIZES = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32,
         "vocab_size": 1000}
WIDE = LlamaConfig(**SIZES, intermediate_size=768)
BIASED = LlamaConfig(**SIZES, intermediate_size=200, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)
MOE = Qwen3MoeConfig(**SIZES, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=256, norm_topk_prob=True)
MIXTRAL = MixtralConfig(**SIZES, num_local_experts=3, num_experts_per_tok=2, intermediate_size=512,
                        sliding_window=None)
native = pytest.mark.skipif(not native_levels(), reason="no native kernels here")


def transformers_model(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def write_checkpoint(config, path):
    transformers_model(config).save_pretrained(path)


def blocks(kind_of):
    """Every matrix as random blocks of a format: kind_of(name)."""

    def write(name, tensor):
        kind = kind_of(name)
        if tensor.dim() < 2 or kind is None:
            return tensor.numpy(), None
        raw = random_rows(kind, tensor.shape, size=float(tensor.std()), seed=len(name)).numpy()
        return raw.reshape(*tensor.shape[:-1], -1), gguf.GGMLQuantizationType[kind]

    return write


def mixed(name):
    """As llama.cpp mixes Q4_K_M: more bits for the head, and for v and down of some layers."""
    more = name in ("output.weight", "token_embd.weight", "blk.0.attn_v.weight", "blk.0.ffn_down.weight")
    return "Q6_K" if more else "Q4_K"


def gate_of_another_format(name):
    return "Q4_0" if "ffn_gate" in name else "Q4_K"


def close(planned_and_held):
    planned, held = planned_and_held
    return planned == pytest.approx(held, rel=0.02)


@native
@pytest.mark.parametrize("tiny", [WIDE, MOE], ids=["llama", "qwen3moe"])
@pytest.mark.parametrize("kind", [*KINDS, mixed, gate_of_another_format], ids=title)
def test_of_a_quantized_gguf_file(kind, tiny, tmp_path):
    kind_of = kind if callable(kind) else lambda name: kind
    path = write_gguf(transformers_model(tiny), tmp_path / "m.gguf", write=blocks(kind_of))

    assert close(planned_and_held(path))


@native
@pytest.mark.parametrize("tiny, cls", [(WIDE, MyLlama), (MIXTRAL, MyMixtral)], ids=["llama", "mixtral"])
@pytest.mark.parametrize("kind", ["Q4_0", "Q6_K", mixed, gate_of_another_format], ids=title)
def test_of_a_quantized_gguf_file_in_a_programmed_model(kind, tiny, cls, tmp_path):
    def kind_of(name):
        return None if "gate_inp" in name else kind(name) if callable(kind) else kind      # a router stays floats

    path = write_gguf(transformers_model(tiny), tmp_path / "m.gguf", write=blocks(kind_of))

    assert close(planned_and_held(path, model_class=cls))


@pytest.mark.parametrize("tiny", [WIDE, MOE, BIASED], ids=["llama", "qwen3moe", "biases"])
@pytest.mark.parametrize("quantization", [None, "int8", "int4", "w8a8", "w4a8"])
@pytest.mark.parametrize("isa", native_levels()[:1] + native_levels()[-2:-1])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_floats_quantized_at_load_or_not(quantization, dtype, isa, tiny, tmp_path):
    write_checkpoint(tiny, tmp_path)

    assert close(planned_and_held(tmp_path, dtype=dtype, cpu_isa=isa, quantization=quantization))


@pytest.mark.parametrize("quantization", [None, "int4", "w8a8"])
def test_of_floats_that_torch_computes_with(quantization, tmp_path):
    write_checkpoint(WIDE, tmp_path)

    assert close(planned_and_held(tmp_path, dtype="float32", cpu_isa="reference", quantization=quantization))


@native
@pytest.mark.parametrize("quantization", [None, "int8", "int4", "w8a8"])
@pytest.mark.parametrize("shape", [(100, 64), (64, 48), (7, 130)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_a_product_takes_the_bytes_that_are_told_before(shape, quantization):
    case = LinearCase(device="cpu", dtype=torch.float32, in_features=shape[1], out_features=shape[0],
                      isa=native_levels()[0], quantization=quantization)
    choice = choose_linear(case)
    weight = empty_weight(case)
    weight.copy_(torch.randn(shape))

    product = choice.prepare(weight, None, Epilogue(out_dtype=torch.float32))

    held = product.num_bytes if choice.name == "native" else weight.untyped_storage().nbytes()
    assert product_bytes(case) == held


@native
def test_a_quantized_model_fits_where_its_floats_would_not(tmp_path):
    path = write_gguf(transformers_model(WIDE), tmp_path / "m.gguf", write=blocks(mixed))
    small = made_machine(memory_bytes=5 << 20, available_bytes=5 << 20)
    args = EngineArgs(model=str(path), skip_tokenizer_init=True, max_num_batched_tokens=64, max_num_seqs=4,
                      max_model_len=64, num_threads=1, cpu_isa="portable")
    config = resolve_engine_config(args, small)
    checkpoint = open_weights(config.model, config.load)

    plan = plan_memory(build_model(config, layer_context(config), checkpoint), config, small)

    assert plan.total_bytes < plan.limit_bytes
    floats = build_model(config, layer_context(config), None)
    as_floats = plan_memory(floats, config, made_machine())
    assert as_floats.weight_bytes > 2.3 * plan.weight_bytes
    with pytest.raises(MemoryPlanError):
        plan_memory(floats, config, small)
