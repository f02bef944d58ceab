"""A tiny model as a GGUF file gives what it gives from safetensors, for each family that GGUF and weft both have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_blocks import KINDS, random_rows
from gguf_models import ARCHITECTURES, add, write_gguf
from isa_levels import native_levels
from qwen_v1 import QwenV1
from safetensors.torch import load_file
from tiny_decoders import DECODERS
from tiny_hybrids import HYBRID_VARIANTS
from tiny_models import transformers_model, write_checkpoint
from tiny_variants import STATE_VARIANTS, VARIANTS, Tiny

from weft import LLM, SamplingParams
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.resolve.gguf.config import read_gguf_config
from weft.resolve.gguf.families import GGUF_FAMILIES
from weft.resolve.gguf.header import read_gguf
from weft.resolve.hf.classes import config_object

# Variants that a GGUF file can state. The others have what the format (and llama.cpp) has no key for.
NAMES = (
    "llama", "llama-biases-wide-heads", "llama-tied-multi-query", "llama-linear", "llama-llama3", "llama-yarn",
    "mistral", "mistral-no-window", "mixtral", "qwen2", "qwen2-moe-all-layers", "qwen3", "qwen3-bias", "qwen3-moe",
    "gemma", "gemma2", "gemma3", "phi", "phi3", "phi3-longrope-short", "phi3-longrope-long", "phi3-partial-window",
    "falcon-7b", "falcon-40b", "falcon-11b", "bloom", "bloom-six-heads", "gpt2", "gpt-neox", "gpt-neox-sequential",
    "starcoder2-bare", "stablelm", "stablelm-12b", "cohere", "cohere-norms", "cohere2-four-layers",
    "deepseek-v2-lite", "deepseek-v2", "deepseek-v3", "glm", "glm4", "glm4-no-bias", "granite", "granite-biases",
    "olmo", "olmo2", "smollm3-five-layers", "arcee", "seed-oss", *STATE_VARIANTS,
    "dots1-no-window", "glm4-moe", "ernie4-5", "ernie4-5-moe-to-the-last", "exaone4", "exaone4-no-window",
    "hunyuan-dense", "hunyuan-moe", "olmoe", "phimoe-usual-jitter", "granite-moe", "granite-moe-shared", "minimax-m2",
    "mpt", "nemotron", "nemotron-biases-relu2", "gpt-bigcode", "lfm2", "lfm2-biases",
    "lfm2-moe-unscaled", "jamba", "jamba-dense-biases",
)
MODELS = VARIANTS | STATE_VARIANTS | DECODERS | HYBRID_VARIANTS | {
    "qwen2-moe-all-layers": replace(VARIANTS["qwen2-moe"],
                                    config=VARIANTS["qwen2-moe"].config | {"mlp_only_layers": []}),
    "cohere-norms": Tiny("CohereForCausalLM", {"use_qk_norm": True, "attention_bias": True}),
    "cohere2-four-layers": Tiny("Cohere2ForCausalLM", {"num_hidden_layers": 4, "sliding_window": 12,
                                                       "logit_scale": 0.25}),
    "smollm3-five-layers": Tiny("SmolLM3ForCausalLM", {"num_hidden_layers": 5, "attention_bias": True,
                                                       "mlp_bias": True}),
    "dots1-no-window": replace(DECODERS["dots1"], config=DECODERS["dots1"].config | {
        "sliding_window": None, "layer_types": ["full_attention"] * 3}),
    "ernie4-5-moe-to-the-last": replace(DECODERS["ernie4-5-moe"],
                                        config=DECODERS["ernie4-5-moe"].config | {"moe_layer_end_index": -1}),
    "phimoe-usual-jitter": replace(DECODERS["phimoe"], config=DECODERS["phimoe"].config | {
        "router_jitter_noise": 0.01}),
    "lfm2-moe-unscaled": replace(HYBRID_VARIANTS["lfm2-moe"], config=HYBRID_VARIANTS["lfm2-moe"].config | {
        "routed_scaling_factor": 1.0}),
    "nemotron-biases-relu2": replace(DECODERS["nemotron-biases"], config=DECODERS["nemotron-biases"].config | {
        "hidden_act": "relu2"}),
}
MAX_MODEL_LEN = 160
PARAMS = SamplingParams(temperature=0.0, max_tokens=16, ignore_eos=True, detokenize=False, prompt_logprobs=0)
TOLERANCE = 1e-4        # of a log-probability, float32 on both sides


def prompts() -> list[list[int]]:
    random = torch.Generator().manual_seed(7)
    return [torch.randint(3, 320, (length,), generator=random).tolist() for length in (1, 17, 70)]


def answers(path: Path, **options) -> list[tuple[list[int], list[float]]]:
    """Greedy tokens, and log-probabilities of the prompt's, for each prompt."""
    with LLM(model=str(path), skip_tokenizer_init=True, max_model_len=MAX_MODEL_LEN, kv_cache_memory_bytes=4 << 20,
             num_threads=1, use_tqdm_on_load=False, **({"dtype": "float32"} | options)) as llm:
        outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts()], PARAMS, use_tqdm=False)
    return [(o.outputs[0].token_ids, [entry[token].logprob for entry, token in
                                      zip(o.prompt_logprobs[1:], o.prompt_token_ids[1:], strict=True)])
            for o in outputs]


def check_same(found, expected, tolerance: float = TOLERANCE) -> None:
    for (tokens, logprobs), (expected_tokens, expected_logprobs) in zip(found, expected, strict=True):
        assert logprobs == pytest.approx(expected_logprobs, abs=tolerance)
        assert tokens == expected_tokens


@pytest.mark.proves("gguf", "name", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_a_float32_file_gives_the_tokens_of_the_safetensors(name, tmp_path, caplog):
    model = write_checkpoint(MODELS[name], tmp_path / "hf")
    path = write_gguf(model, tmp_path / "model.gguf")

    found = answers(path)

    said = [record.message for record in caplog.records if record.name == "weft"]
    check_same(found, answers(tmp_path / "hf"))
    assert said == []


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_the_metadata_is_read(name, tmp_path):
    path = write_gguf(transformers_model(MODELS[name]), tmp_path / "model.gguf")
    config = read_gguf_config(path, {})
    reader = ConfigReader(config.values, source=config.source, origins=config.origins)

    families()[config.architecture].describe(reader)

    assert reader.unread() == {}
    assert config.values["torch_dtype"] == "float32"


@pytest.mark.parametrize("name, keys", [
    ("bloom", ["layer_norm_epsilon"]), ("gpt2", ["layer_norm_epsilon", "n_head"]),
    ("starcoder2-bare", ["norm_epsilon"]), ("falcon-40b", ["layer_norm_epsilon", "num_kv_heads"]),
    ("gemma3", ["rms_norm_eps", "layer_types"])])
def test_the_familys_config_class_reads_from_the_metadata_what_the_original_says(name, keys, tmp_path):
    model = transformers_model(MODELS[name])
    config = read_gguf_config(write_gguf(model, tmp_path / "model.gguf"), {})

    found = config_object(config.values, config.source)

    # What programmed models are given. Single precision has seven digits.
    assert {key: getattr(found, key) for key in keys} == {
        key: pytest.approx(value) if isinstance(value := getattr(model.config, key), float) else value for key in keys}


def test_the_config_class_of_gemma_3_has_a_rotary_base_for_each_kind_of_layer(tmp_path):
    model = transformers_model(MODELS["gemma3"])
    config = read_gguf_config(write_gguf(model, tmp_path / "model.gguf"), {})

    found = config_object(config.values, config.source).rope_parameters

    assert found["full_attention"].pop("partial_rotary_factor") == 1.0
    assert found == model.config.rope_parameters


def test_each_family_that_is_read_is_tested():
    tested = {ARCHITECTURES[transformers_model(MODELS[name]).config.model_type] for name in NAMES}

    # Transformers does not have qwen: see below. Encoders: test_gguf_encoders.py; exaone: test_exaone.py.
    rest = {name for name in set(GGUF_FAMILIES) - tested if not GGUF_FAMILIES[name].is_encoder}
    assert rest == {"qwen", "exaone"}


@pytest.mark.proves("gguf", None, "QWenLMHeadModel")
def test_qwen_1_which_transformers_lacks_is_read_too(tmp_path):
    (tmp_path / "hf").mkdir()
    model = QwenV1()
    model.save_pretrained(tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "qwen")
    for key, value in {
        "context_length": config["seq_length"], "block_count": config["num_hidden_layers"],
        "embedding_length": config["hidden_size"], "feed_forward_length": config["intermediate_size"],
        "rope.freq_base": float(config["rotary_emb_base"]), "attention.head_count": config["num_attention_heads"],
        "attention.layer_norm_rms_epsilon": config["layer_norm_epsilon"], "rope.dimension_count": config["kv_channels"],
    }.items():
        add(writer, f"qwen.{key}", value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN, config["num_hidden_layers"])
    for file in (tmp_path / "hf").glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    check_same(answers(tmp_path / "model.gguf"), answers(tmp_path / "hf"))


def test_the_first_mixtral_files_have_a_tensor_for_each_expert(tmp_path):
    model = write_checkpoint(MODELS["mixtral"], tmp_path / "hf")
    plain = write_gguf(model, tmp_path / "plain.gguf")

    def one_by_one(tensors):
        for name, tensor in tensors:
            if "_exps" in name:
                yield from ((name.replace("_exps.", f".{e}."), matrix) for e, matrix in enumerate(tensor))
            else:
                yield name, tensor

    path = write_gguf(model, tmp_path / "model.gguf", rename=one_by_one)

    assert len(read_gguf(path).tensors) == len(read_gguf(plain).tensors) + 2 * 3 * (4 - 1)
    check_same(answers(path), answers(tmp_path / "hf"))


@pytest.mark.parametrize("name", ["deepseek-v2-lite", "deepseek-v2"])
def test_the_first_deepseek_files_have_keys_and_values_in_one_tensor_and_no_sizes_of_the_latent(name, tmp_path):
    model = write_checkpoint(MODELS[name], tmp_path / "hf")

    def as_one(tensors):
        keys = {}
        for name, tensor in tensors:
            if name.endswith("attn_k_b.weight"):
                keys[name.partition(".attn")[0]] = tensor.transpose(1, 2)
            elif name.endswith("attn_v_b.weight"):
                block = name.partition(".attn")[0]
                yield f"{block}.attn_kv_b.weight", torch.cat((keys[block], tensor), dim=1).flatten(0, 1)
            else:
                yield name, tensor

    path = write_gguf(model, tmp_path / "model.gguf", rename=as_one, metadata={
        "deepseek2.attention.head_count_kv": 4, "deepseek2.expert_gating_func": None,
        "deepseek2.attention.key_length": 24, "deepseek2.attention.value_length": 20,
        "deepseek2.attention.key_length_mla": None, "deepseek2.attention.value_length_mla": None})

    check_same(answers(path), answers(tmp_path / "hf"))


def test_the_first_glm_files_have_q_k_and_v_in_one_tensor(tmp_path):
    model = write_checkpoint(Tiny("GlmForCausalLM", {"head_dim": 16}), tmp_path / "hf")

    def fused(tensors):
        parts = {}
        for name, tensor in tensors:
            block, _, rest = name.partition(".attn_")
            kind, _, suffix = rest.partition(".")
            if kind not in ("q", "k", "v"):
                yield name, tensor
                continue
            parts[block, kind, suffix] = tensor
            if all((block, each, suffix) in parts for each in "qkv"):
                yield f"{block}.attn_qkv.{suffix}", torch.cat([parts[block, each, suffix] for each in "qkv"])

    path = write_gguf(model, tmp_path / "model.gguf", rename=fused)

    assert "blk.0.attn_qkv.bias" in read_gguf(path).tensors
    check_same(answers(path), answers(tmp_path / "hf"))


def test_layers_for_drafts_are_counted_in_a_file_and_not_loaded(tmp_path):
    model = write_checkpoint(MODELS["glm4-moe"], tmp_path / "hf")

    def with_drafts(tensors):
        found = dict(tensors)
        yield from found.items()
        yield from ((f"blk.3.{name[6:]}", value) for name, value in found.items() if name.startswith("blk.2."))
        yield "blk.3.nextn.eh_proj.weight", torch.ones(64, 128)

    path = write_gguf(model, tmp_path / "model.gguf", rename=with_drafts, metadata={
        "glm4moe.block_count": 4, "glm4moe.nextn_predict_layers": 1})

    check_same(answers(path), answers(tmp_path / "hf"))


def test_a_split_model_is_read_from_any_of_its_files(tmp_path):
    model = write_checkpoint(MODELS["llama"], tmp_path / "hf")
    path = write_gguf(model, tmp_path / "model.gguf", num_parts=3)
    assert path.name == "model-00001-of-00003.gguf"

    expected = answers(tmp_path / "hf")

    check_same(answers(path), expected)
    check_same(answers(tmp_path / "model-00003-of-00003.gguf"), expected)


# Quantized files: a model wide enough for blocks of 256.

WIDE = Tiny("LlamaForCausalLM", {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4,
                                 "num_key_value_heads": 2})
MOE = Tiny("Qwen3MoeForCausalLM", {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 256,
                                   "norm_topk_prob": True, "hidden_size": 256, "head_dim": 64})
LATENT = replace(VARIANTS["deepseek-v2"], config=VARIANTS["deepseek-v2"].config | {
    "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 256, "kv_lora_rank": 256,
    "q_lora_rank": 256, "qk_nope_head_dim": 32, "v_head_dim": 64})


def random_blocks(kind: str):
    """Every matrix as random blocks of this format, of the size that such matrices have; short rows as Q8_0."""
    block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]

    def write(name, tensor):
        if tensor.dim() < 2:
            return tensor.numpy(), None
        own = kind if tensor.shape[-1] % block == 0 else "Q8_0"
        raw = random_rows(own, tensor.shape, size=float(tensor.std()), seed=len(name)).numpy()
        return raw.reshape(*tensor.shape[:-1], -1), gguf.GGMLQuantizationType[own]

    return write


def as_the_gguf_package_reads(write):
    """The numbers in place of the blocks."""

    def numbers(name, tensor):
        array, kind = write(name, tensor)
        return (array if kind is None else gguf.quants.dequantize(array, kind).astype(np.float32)), None

    return numbers


@pytest.mark.parametrize("tiny", [WIDE, MOE, LATENT], ids=["llama", "qwen3moe", "deepseek2"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_file_gives_what_its_numbers_give(kind, tiny, tmp_path):
    model = transformers_model(tiny)
    quantized = write_gguf(model, tmp_path / "q.gguf", write=random_blocks(kind))
    numbers = write_gguf(model, tmp_path / "f.gguf", write=as_the_gguf_package_reads(random_blocks(kind)))

    # Codes are multiplied as they are, groups scaled: sums are rounded elsewhere, and log-probabilities are about 30.
    check_same(answers(quantized), answers(numbers), tolerance=2e-4)


def test_quantized_positions_become_numbers(tmp_path):
    model = transformers_model(Tiny("GPT2LMHeadModel", {"hidden_size": 64, "n_embd": 64, "n_head": 4, "n_layer": 1}))
    quantized = write_gguf(model, tmp_path / "q.gguf", write=random_blocks("Q8_0"))
    numbers = write_gguf(model, tmp_path / "f.gguf", write=as_the_gguf_package_reads(random_blocks("Q8_0")))

    assert read_gguf(quantized).tensors["position_embd.weight"].type.name == "Q8_0"
    check_same(answers(quantized), answers(numbers), tolerance=2e-4)


@pytest.mark.parametrize("kind, error", [
    ("F16", 2e-3), ("BF16", 2e-2), ("Q8_0", 4e-2), ("Q5_1", 0.6), ("Q5_0", 0.6), ("Q4_1", 1.2), ("Q4_0", 1.4),
])
def test_logits_are_those_of_the_original_within_the_formats_error(kind, error, tmp_path):
    model = write_checkpoint(WIDE, tmp_path / "hf")

    def quantized(name, tensor):
        if tensor.dim() < 2:
            return tensor.numpy(), None
        number = gguf.GGMLQuantizationType[kind]
        return gguf.quants.quantize(tensor.contiguous().numpy(), number), number

    path = write_gguf(model, tmp_path / "q.gguf", write=quantized)

    off = [abs(a - b) for (_, found), (_, expected) in zip(answers(path), answers(tmp_path / "hf"), strict=True)
           for a, b in zip(found, expected, strict=True)]

    assert error / 20 < np.mean(off) < error


@pytest.mark.parametrize("kind, cpu_isa, said", [
    ("Q4_K", "reference", ["q.gguf: 16 of 21 tensors are quantized (Q4_K) and become bfloat16"]),
    ("Q4_K", "portable", []),
    ("IQ4_NL", "portable", ["q.gguf: 16 of 21 tensors are quantized (IQ4_NL) and become bfloat16"]),
])
def test_a_quantized_model_runs_in_bfloat16_and_says_what_it_costs_where_no_kernel_takes_its_codes(
        kind, cpu_isa, said, tmp_path, caplog):
    if cpu_isa != "reference" and not native_levels():
        pytest.skip("no native kernels here")
    path = write_gguf(transformers_model(WIDE), tmp_path / "q.gguf", write=random_blocks(kind))

    with LLM(model=str(path), skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False, cpu_isa=cpu_isa,
             kv_cache_memory_bytes=4 << 20) as llm:
        dtype = llm.config.model.dtype

    assert dtype == "bfloat16"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message[:len(start)] for message, start in zip(warnings, said, strict=True)] == said
