"""Writes GGUF files of Transformers models, as llama.cpp's converter does: its names, its keys, its rearrangements.

Names come from the gguf package's own table, so that weft's name maps are checked against it. Only families of the
tests are here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf_more import MORE_ARCHITECTURES, more_metadata, renamed
from torch import Tensor, nn

# Transformers' model_type -> general.architecture
ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen2_moe": "qwen2moe",
    "qwen3": "qwen3", "qwen3_moe": "qwen3moe", "gemma": "gemma", "gemma2": "gemma2", "gemma3_text": "gemma3",
    "phi": "phi2", "phi3": "phi3", "falcon": "falcon", "bloom": "bloom", "gpt2": "gpt2", "gpt_neox": "gptneox",
    "starcoder2": "starcoder2", "stablelm": "stablelm", "cohere": "command-r", "cohere2": "cohere2",
    "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2", "glm": "chatglm", "glm4": "glm4", "granite": "granite",
    "olmo": "olmo", "olmo2": "olmo2", "olmo3": "olmo2", "smollm3": "smollm3", "arcee": "arcee", "seed_oss": "seed_oss",
    "mamba": "mamba", "falcon_mamba": "mamba", "mamba2": "mamba2",
} | MORE_ARCHITECTURES
# Rows of q and k are written in neighbouring pairs.
PAIRED = frozenset({"llama", "granite", "olmo", "smollm3", "arcee", "granitemoe"})

Write = Callable[[str, Tensor], tuple[np.ndarray, gguf.GGMLQuantizationType | None]]

Rename = Callable[[Iterable[tuple[str, Tensor]]], Iterable[tuple[str, Tensor]]]


def title(kind: str | Callable[[str], Any]) -> str:
    """The name of a kind of block, or of the function that chooses kinds: the same in every process, for test ids."""
    return kind if isinstance(kind, str) else kind.__name__


def as_float32(name: str, tensor: Tensor) -> tuple[np.ndarray, None]:
    """Numbers as they are."""
    return tensor.float().contiguous().numpy(), None


def write_gguf(model: nn.Module, path: Path, *, write: Write = as_float32, metadata: Mapping[str, Any] | None = None,
               rename: Rename = lambda tensors: tensors, num_parts: int = 1) -> Path:
    """A GGUF file of a Transformers model; its first part's path.

    write: what becomes of a tensor. metadata: put over the converter's, None removes. rename: changes the tensors.
    """
    config = model.config
    name = ARCHITECTURES[config.model_type]
    tensors = dict(rename(converted(name, config, model.state_dict())))
    size = -(-len(tensors) // num_parts)
    writer = gguf.GGUFWriter(path, name, split_max_tensors=size if num_parts > 1 else 0)
    keys = {f"{name}.{key}": value for key, value in metadata_of(name, config).items()} | dict(metadata or {})
    for key, value in keys.items():
        if value is not None:
            add(writer, key, value)
    for tensor_name, tensor in tensors.items():
        array, kind = write(tensor_name, tensor)
        writer.add_tensor(tensor_name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if num_parts == 1 else path.with_name(f"{path.stem}-00001-of-{num_parts:05}.gguf")


def add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """A metadata entry of the usual type for its Python type."""
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def metadata_of(name: str, config: Any) -> dict[str, Any]:
    """{key without the architecture: value} of a Transformers config."""
    if name in ("mamba", "mamba2"):
        return state_metadata(config)
    # The tests give every config all of their sizes, also those that its family does not have.
    own = {*type(config)().to_dict(), *config.attribute_map, "head_dim"}

    def get(*keys: str, default: Any = None) -> Any:
        return next((v for k in keys if k in own and (v := getattr(config, k, None)) is not None), default)

    hidden, heads = get("hidden_size", "n_embd"), get("num_attention_heads", "n_head")
    kv_heads = get("num_kv_heads") if name == "falcon" and config.new_decoder_architecture else (
        1 if name == "falcon" and config.multi_query else get("num_key_value_heads", default=heads))
    size = get("head_dim")
    found = {
        "context_length": get("max_position_embeddings", "n_positions", default=256), "embedding_length": hidden,
        "block_count": get("num_hidden_layers", "n_layer"), "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "feed_forward_length": get("intermediate_size", "n_inner", "ffn_hidden_size", default=4 * hidden),
        "attention.layer_norm_rms_epsilon": get("rms_norm_eps"),
        "attention.layer_norm_epsilon": get("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
        "attention.key_length": size, "attention.value_length": size, "expert_count": get("num_experts",
                                                                                       "num_local_experts"),
        "expert_used_count": get("num_experts_per_tok"), "expert_feed_forward_length": get("moe_intermediate_size"),
        "expert_shared_feed_forward_length": get("shared_expert_intermediate_size"),
        "attn_logit_softcapping": get("attn_logit_softcapping"),
        "final_logit_softcapping": get("final_logit_softcapping"), "attention.clamp_kqv": get("clip_qkv"),
        "logit_scale": get("logits_scaling", "logit_scale"), "embedding_scale": get("embedding_multiplier"),
        "residual_scale": get("residual_multiplier"), "attention.scale": get("attention_multiplier"),
        "use_parallel_residual": get("use_parallel_residual"), "vocab_size": config.vocab_size,
    }
    if get("query_pre_attn_scalar", default=size) != size:
        found["attention.scale"] = config.query_pre_attn_scalar ** -0.5
    window = get("sliding_window")
    if name in ("phi3", "gemma2", "gemma3", "cohere2", "olmo2", "exaone4") or config.model_type == "mistral":
        found["attention.sliding_window"] = window
    if window and name in ("gemma3", "olmo2", "exaone4"):
        found["attention.sliding_window_pattern"] = [kind == "sliding_attention" for kind in config.layer_types]
    if name not in ("bloom", "gpt2", "mpt", "starcoder", "jamba"):
        found |= rope_metadata(config, size or hidden // heads)
    if name == "deepseek2":
        found |= latent_metadata(config)
    found |= more_metadata(name, config)
    return {key: value for key, value in found.items() if value is not None}


def state_metadata(config: Any) -> dict[str, Any]:
    """Mamba's: no heads and no feed-forward part, but zeros for them."""
    is_mamba2 = config.model_type == "mamba2"
    inner = config.hidden_size * config.expand
    found = {
        "context_length": 1 << 20, "embedding_length": config.hidden_size, "feed_forward_length": 0,
        "attention.head_count": 0, "block_count": config.num_hidden_layers, "ssm.conv_kernel": config.conv_kernel,
        "ssm.inner_size": inner, "ssm.state_size": config.state_size,
        "ssm.time_step_rank": config.num_heads if is_mamba2 else config.time_step_rank,
        "attention.layer_norm_rms_epsilon": config.layer_norm_epsilon, "vocab_size": config.vocab_size,
    }
    own = {"ssm.group_count": config.n_groups} if is_mamba2 else {"ssm.dt_b_c_rms": config.model_type == "falcon_mamba"}
    return found | own


def latent_metadata(config: Any) -> dict[str, Any]:
    """What DeepSeek has besides: the cached latent is one key-value head, the sizes of the expanded ones follow it."""
    is_v3 = config.model_type == "deepseek_v3"
    found = {
        "attention.head_count_kv": 1, "attention.q_lora_rank": config.q_lora_rank,
        "attention.kv_lora_rank": config.kv_lora_rank, "attention.value_length": config.kv_lora_rank,
        "attention.key_length": config.kv_lora_rank + config.qk_rope_head_dim,
        "attention.key_length_mla": config.qk_nope_head_dim + config.qk_rope_head_dim,
        "attention.value_length_mla": config.v_head_dim, "leading_dense_block_count": config.first_k_dense_replace,
        "expert_count": config.n_routed_experts, "expert_shared_count": config.n_shared_experts,
        "expert_weights_scale": float(config.routed_scaling_factor), "expert_weights_norm": config.norm_topk_prob,
        "expert_gating_func": 2 if is_v3 else 1,
    }
    if is_v3 or config.topk_method == "group_limited_greedy":
        found |= {"expert_group_count": config.n_group, "expert_group_used_count": config.topk_group}
    if config.rope_parameters["rope_type"] == "yarn":
        found["rope.scaling.yarn_log_multiplier"] = 0.1 * config.rope_parameters["mscale_all_dim"]
    return found


def rope_metadata(config: Any, head_dim: int) -> dict[str, Any]:
    rope = config.rope_parameters
    found: dict[str, Any] = {}
    if "full_attention" in rope:
        found["rope.freq_base_swa"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    found |= {"rope.freq_base": float(rope["rope_theta"]),
              "rope.dimension_count": int(head_dim * rope.get("partial_rotary_factor", 1.0))}
    if rope["rope_type"] in ("linear", "yarn"):
        found |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": float(rope["factor"])}
    original = getattr(config, "original_max_position_embeddings", None) or rope.get("original_max_position_embeddings")
    if rope["rope_type"] in ("yarn", "longrope"):
        found["rope.scaling.original_context_length"] = original
    if rope["rope_type"] == "longrope":
        factor = config.max_position_embeddings / original
        found["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(factor) / math.log(original))
    return found


def converted(name: str, config: Any, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a GGUF file, still as torch has them."""
    kind = next(kind for kind, text in gguf.MODEL_ARCH_NAMES.items() if text == name)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    for full, tensor in with_stacked_norms(state).items():
        if config.tie_word_embeddings and full.startswith(("lm_head.", "embed_out.")):
            continue
        for part, value in rearranged(name, config, full, tensor):
            target = names.get_name(part, try_suffixes=(".weight", ".bias"))
            assert target is not None, f"{name} has no GGUF name for {part}"
            yield target, value if name.startswith("mamba") else value.squeeze()
    yield from rope_tensors(config)


def with_stacked_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """StableLM's norms, one tensor for each head, in one tensor."""
    out: dict[str, Tensor] = {}
    for full, tensor in state.items():
        head = re.search(r"norms\.\d+\.", full)
        name = full if head is None else full.replace(head.group(), "")
        rows = [out[name]] if name in out else []
        out[name] = tensor if head is None else torch.cat([*rows, tensor[None]])
    return out


def rope_tensors(config: Any) -> Iterator[tuple[str, Tensor]]:
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        for kind in ("long", "short"):
            yield f"rope_factors_{kind}.weight", torch.tensor(rope[f"{kind}_factor"], dtype=torch.float32)
    if rope.get("rope_type") == "llama3":
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        yield "rope_freqs.weight", llama3_factors(rope, size)


def llama3_factors(rope: Mapping[str, Any], size: int) -> Tensor:
    """By how much each frequency of Llama 3's scaling is divided."""
    low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    out = []
    for i in range(0, size, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / size)
        smooth = min(1.0, max(0.0, (original / wavelength - low) / (high - low)))
        out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return torch.tensor(out)


def rearranged(name: str, config: Any, full: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What the converter makes of one tensor of a checkpoint."""
    if name.startswith("mamba"):
        yield state_tensor(name, config, full, tensor)
        return
    heads, (full, tensor) = config.num_attention_heads, renamed(name, full, tensor)
    if name in PAIRED and re.search(r"\.[qk]_proj\.", full):
        count = heads if ".q_proj." in full else config.num_key_value_heads
        tensor = tensor.unflatten(0, (count, 2, -1)).transpose(1, 2).flatten(0, 2)
    if name.startswith("gemma") and full.endswith("norm.weight"):
        tensor = tensor + 1
    if name == "gpt2" and re.search(r"(c_attn|c_proj|c_fc)\.weight", full):
        tensor = tensor.t()
    if name == "bloom":
        full = full.removeprefix("transformer.")
    if name == "deepseek2" and full.endswith("e_score_correction_bias"):
        full = full.replace("_bias", ".bias")
    if full.endswith("kv_b_proj.weight"):
        keys, values = tensor.unflatten(0, (heads, -1)).split([config.qk_nope_head_dim, config.v_head_dim], dim=1)
        yield full.replace("kv_b", "k_b"), keys.transpose(1, 2)
        yield full.replace("kv_b", "v_b"), values
        return
    if "query_key_value" in full:
        tensor = regrouped(name, config, tensor)
    full = full.replace("shared_mlp.output_linear.weight", "mlp.shared_experts.down_proj")
    full = full.replace("shared_mlp.input_linear.weight", "mlp.shared_experts.gate_up_proj")
    if full.endswith(("experts.gate_up_proj", "experts.down_proj")):
        stem = full.rpartition(".")[0]
        kinds = ("gate_proj", "up_proj") if full.endswith("gate_up_proj") else ("down_proj",)
        for part, matrices in zip(kinds, tensor.chunk(len(kinds), dim=-2), strict=True):
            yield f"{stem}.{part}.weight", matrices
        return
    yield full, tensor


def state_tensor(name: str, config: Any, full: str, tensor: Tensor) -> tuple[str, Tensor]:
    """One of Mamba's: decays instead of their logarithms, and other dimensions."""
    if "conv1d.weight" in full:
        tensor = tensor.squeeze(1)
    if name == "mamba2" and full.endswith((".A_log", ".D")):
        tensor = tensor.unsqueeze(1)
    if name == "mamba2" and full.endswith("mixer.norm.weight"):
        tensor = tensor.view(config.n_groups, -1)
    return full.replace("dt_bias", "dt_proj.bias"), -tensor.exp() if full.endswith(".A_log") else tensor


def regrouped(name: str, config: Any, tensor: Tensor) -> Tensor:
    """Rows of q, k and v that are mixed by head or by group, put one kind after the other."""
    heads, groups = config.num_attention_heads, config.num_attention_heads
    if name == "falcon":
        groups = config.num_kv_heads if config.new_decoder_architecture else 1
    parts = tensor.unflatten(0, (groups, heads // groups + 2, -1)).split([heads // groups, 1, 1], dim=1)
    return torch.cat([part.flatten(0, 2) for part in parts])
