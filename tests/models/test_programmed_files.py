"""Programmed models from GGUF files and Mistral's own format: the described models' tokens, from the same files."""

from pathlib import Path

import gguf
import pytest
from gguf_blocks import random_rows
from gguf_models import title, write_gguf
from mistral_files import rewrite
from programmed_bloom import MyBloom
from programmed_llama import MyLlama
from programmed_mixtral import MyMixtral
from tiny_models import transformers_model, write_checkpoint
from tiny_variants import VARIANTS, Tiny

from weft import LLM, SamplingParams
from weft.errors import CheckpointError, NotBuiltError

PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + i)} for i in range(3)]
# Wide enough for blocks of 256 numbers.
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
LIBRARY = "weft.models.library."
MODELS = {"gpt2": (Tiny("GPT2LMHeadModel", {"hidden_size": 256, "n_embd": 256, "n_head": 4, "n_layer": 2}),
                   LIBRARY + "gpt2:GPT2LMHeadModel"),
          "llama": (Tiny("LlamaForCausalLM", WIDE), MyLlama),
          "mixtral": (Tiny("MixtralForCausalLM", WIDE | {"num_local_experts": 4, "num_experts_per_tok": 2}), MyMixtral)}


def answers(path, **options):
    """(greedy tokens, log-probabilities of the prompt's tokens) for each prompt."""
    options = {"dtype": "float32", "max_model_len": 96, "max_num_batched_tokens": 24, "max_num_seqs": 3,
               "num_threads": 1, "skip_tokenizer_init": True, "use_tqdm_on_load": False,
               "kv_cache_memory_bytes": 4 << 20} | options
    with LLM(model=str(path), **options) as llm:
        params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, detokenize=False, prompt_logprobs=0)
        return [(output.outputs[0].token_ids, [entry[token].logprob for entry, token in zip(
            output.prompt_logprobs[1:], output.prompt_token_ids[1:], strict=True)])
            for output in llm.generate(PROMPTS, params, use_tqdm=False)]


def check_same(found, expected, tolerance=1e-4):
    for (tokens, logprobs), (expected_tokens, expected_logprobs) in zip(found, expected, strict=True):
        assert logprobs == pytest.approx(expected_logprobs, abs=tolerance)
        assert tokens == expected_tokens


def blocks(kind_of):
    """Every matrix as random blocks of the format kind_of(name), or as 16-bit floats."""

    def write(name, tensor):
        kind = kind_of(name)
        if tensor.dim() < 2 or name in ("position_embd.weight",) or "ffn_gate_inp" in name:
            return tensor.numpy(), None                       # as llama.cpp: positions and routers stay floats
        if kind == "F16":
            return tensor.half().numpy(), None
        own = kind if tensor.shape[-1] % 256 == 0 else "Q8_0"
        raw = random_rows(own, tensor.shape, size=float(tensor.std()), seed=len(name)).numpy()
        return raw.reshape(*tensor.shape[:-1], -1), gguf.GGMLQuantizationType[own]

    return write


def mixed(name):
    """As llama.cpp mixes Q4_K_M: parts that layers fuse (q, k and v) have several formats."""
    return "Q6_K" if name in ("output.weight", "token_embd.weight", "blk.0.attn_v.weight", "blk.1.ffn_up.weight",
                              "blk.1.ffn_up_exps.weight") else "Q4_K"


@pytest.mark.parametrize("kind", ["F16", "Q4_0", "Q8_0", "Q4_K", mixed], ids=title)
@pytest.mark.parametrize("name", MODELS)
def test_tokens_from_a_gguf_file(name, kind, tmp_path):
    tiny, cls = MODELS[name]
    kind_of = kind if callable(kind) else lambda name: kind
    path = write_gguf(transformers_model(tiny), tmp_path / "m.gguf", write=blocks(kind_of))

    check_same(answers(path, model_class=cls), answers(path))


@pytest.mark.parametrize("cls, name, wide", [
    ("llama:LlamaForCausalLM", "LlamaForCausalLM", WIDE), ("qwen2:Qwen2ForCausalLM", "Qwen2ForCausalLM", WIDE),
    ("qwen3:Qwen3ForCausalLM", "Qwen3ForCausalLM", WIDE),
    ("gemma2:Gemma2ForCausalLM", "Gemma2ForCausalLM", WIDE | {"head_dim": 64, "query_pre_attn_scalar": 64}),
])
@pytest.mark.parametrize("kind", ["F16", "Q4_0"])
def test_tokens_of_borrowed_classes(cls, name, wide, kind, tmp_path):
    path = write_gguf(transformers_model(Tiny(name, wide)), tmp_path / "m.gguf", write=blocks(lambda name: kind))

    check_same(answers(path, model_class=LIBRARY + cls), answers(path))


def test_a_fused_tensor_with_another_order_of_rows(tmp_path):
    model = transformers_model(Tiny("BloomForCausalLM", {"hidden_size": 256, "n_layer": 2, "n_head": 4}))
    path = write_gguf(model, tmp_path / "m.gguf", write=blocks(lambda name: "Q4_0"))

    check_same(answers(path, model_class=MyBloom), answers(path))


def test_a_file_written_for_vllm_reads_gguf(tmp_path):
    path = write_gguf(transformers_model(MODELS["llama"][0]), tmp_path / "m.gguf", write=blocks(mixed))
    file = Path(__file__).parents[1] / "compat" / "vllm_files" / "g2_llama.py"

    check_same(answers(path, model_file=str(file)), answers(path))


def test_a_file_that_rotates_in_pairs_for_gguf_is_not_told_of_it(tmp_path):
    path = write_gguf(transformers_model(MODELS["llama"][0]), tmp_path / "m.gguf", write=blocks(mixed))
    code = (Path(__file__).parents[1] / "compat" / "vllm_files" / "g2_llama.py").read_text()
    asking = code.replace("rope_parameters=config.rope_parameters)", "rope_parameters=config.rope_parameters, "
                          "is_neox_style=quant_config is None or quant_config.get_name() != 'gguf')")
    assert asking != code
    (tmp_path / "asking.py").write_text(asking)

    check_same(answers(path, model_file=str(tmp_path / "asking.py"), quantization="gguf"), answers(path))


@pytest.mark.parametrize("name, cls", [("mistral-no-window", MyLlama), ("mixtral", MyMixtral)])
def test_tokens_from_mistrals_own_format(name, cls, tmp_path):
    write_checkpoint(VARIANTS[name], tmp_path / "hf")
    rewrite(tmp_path / "hf", tmp_path / "own", num_files=2)

    found = answers(tmp_path / "own", model_class=cls)

    check_same(found, answers(tmp_path / "own"))
    check_same(found, answers(tmp_path / "hf"))


@pytest.mark.parametrize("name", ["mixtral", "gpt2"])
@pytest.mark.parametrize("kind", ["Q4_0", "Q5_1", "Q8_0", "Q4_K", "Q6_K"])
def test_codes_stay_codes(name, kind, tmp_path):
    tiny, cls = MODELS[name]
    path = write_gguf(transformers_model(tiny), tmp_path / "m.gguf", write=blocks(lambda name: kind))

    with LLM(model=str(path), dtype="float32", model_class=cls, skip_tokenizer_init=True, max_model_len=96,
             num_threads=1, use_tqdm_on_load=False, kv_cache_memory_bytes=4 << 20) as llm:
        if llm.config.cpu_isa == "reference":
            pytest.skip("only native kernels multiply codes; others get floats")
        (per_number,) = llm.apply_model(bytes_per_number)

    floats = {place for place, size in per_number.items() if size > 1.3}      # Q8_0, the widest: 1.25 with offsets
    assert {place.rpartition(".")[2] for place in floats} <= {"gate"}, per_number
    assert len(per_number) > 4


def bytes_per_number(model):
    """{module: bytes that its kernel holds for a number of its weight}."""
    found = {}
    for name, module in model.named_modules():
        product = getattr(module, "product", None)
        if product is not None:
            found[name] = product.num_bytes / module.weight.numel()
    return found


def test_what_becomes_floats_is_said(tmp_path, caplog):
    path = write_gguf(transformers_model(MODELS["llama"][0]), tmp_path / "m.gguf", write=blocks(lambda name: "Q4_K"))

    answers(path, model_class=MyLlama, cpu_isa="reference")

    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("m.gguf: 16 of 21 tensors are quantized (Q4_K) and become float32")


def test_a_config_of_no_family_is_refused(tmp_path):
    path = write_gguf(transformers_model(VARIANTS["llama"]), tmp_path / "m.gguf")

    with pytest.raises(NotBuiltError, match=r"architectures = \['MineForCausalLM'\].*only a description says"):
        answers(path, model_class=MyLlama, hf_overrides={"architectures": ["MineForCausalLM"]})


def test_a_model_without_a_place_for_a_tensor_names_it_as_hugging_face_does(tmp_path):
    path = write_gguf(transformers_model(VARIANTS["qwen3"]), tmp_path / "m.gguf")

    with pytest.raises(CheckpointError, match=r"model\.layers\.0\.self_attn\.q_norm"):
        answers(path, model_class=MyLlama)
