"""EXAONE 3, which Transformers runs by Llama's class: published checkpoints, and those that Transformers writes."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest
import torch
import transformers
from against_transformers import TinyModel, check_chunks_and_cached_prefixes, check_whole_prompts
from gguf_models import add, llama3_factors
from safetensors.torch import load_file
from tiny_models import noise
from tiny_variants import SIZES, rope

PUBLISHED_KEYS = {"num_hidden_layers": "num_layers", "hidden_act": "activation_function",
                  "rms_norm_eps": "layer_norm_epsilon"}


@pytest.fixture(scope="module")
def model():
    config = transformers.ExaoneConfig(**SIZES, **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                       original_max_position_embeddings=64))
    config._attn_implementation = "eager"
    found = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, tensor in found.named_parameters():
            random = noise(name, tensor.shape)
            tensor.copy_(tensor + 0.2 * random if tensor.dim() == 1 else 1.5 * random / tensor.shape[-1] ** 0.5)
    return found


@pytest.fixture(params=["published", "written by Transformers"])
def tiny(request, model, tmp_path):
    model.save_pretrained(tmp_path)
    if request.param == "published":
        file = tmp_path / "config.json"
        config = {PUBLISHED_KEYS.get(key, key): value for key, value in json.loads(file.read_text()).items()}
        file.write_text(json.dumps(config | {"architectures": ["ExaoneForCausalLM"]}))
    return TinyModel(tmp_path, lambda ids: model(ids, use_cache=False).logits)


@pytest.mark.proves("tested", None, "ExaoneForCausalLM")
def test_prompt_and_greedy_tokens_have_the_expected_logprobs(tiny: TinyModel):
    check_whole_prompts(tiny)
    check_chunks_and_cached_prefixes(tiny)


@pytest.mark.proves("gguf", None, "ExaoneForCausalLM")
def test_a_file_of_the_first_converter_gives_the_same_tokens(model, tmp_path: Path):
    model.save_pretrained(tmp_path / "hf")
    config, names = model.config, gguf.get_tensor_name_map(gguf.MODEL_ARCH.EXAONE, model.config.num_hidden_layers)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "exaone")
    for key, value in {
        "context_length": 256, "block_count": config.num_hidden_layers, "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size, "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads, "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.dimension_count": config.head_dim, "rope.freq_base": float(config.rope_parameters["rope_theta"]),
    }.items():
        add(writer, f"exaone.{key}", value)
    for name, tensor in load_file(tmp_path / "hf" / "model.safetensors").items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), tensor.numpy())
    writer.add_tensor("rope_freqs.weight", llama3_factors(config.rope_parameters, config.head_dim).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    check_whole_prompts(TinyModel(tmp_path / "model.gguf", lambda ids: model(ids, use_cache=False).logits))
