"""Rewrites a Hugging Face directory of Mistral or Mixtral in Mistral's own format, its tensors row by row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SIZES = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
         "num_key_value_heads": "n_kv_heads", "intermediate_size": "hidden_dim", "rms_norm_eps": "norm_eps",
         "head_dim": "head_dim", "vocab_size": "vocab_size", "max_position_embeddings": "max_position_embeddings"}
STEMS = {
    r"model\.embed_tokens": "tok_embeddings", r"model\.norm": "norm", "lm_head": "output",
    r"model\.layers\.(\d+)\.self_attn\.([qkvo])_proj": r"layers.\1.attention.w\2",
    r"model\.layers\.(\d+)\.input_layernorm": r"layers.\1.attention_norm",
    r"model\.layers\.(\d+)\.post_attention_layernorm": r"layers.\1.ffn_norm",
    r"model\.layers\.(\d+)\.mlp\.gate_proj": r"layers.\1.feed_forward.w1",
    r"model\.layers\.(\d+)\.mlp\.down_proj": r"layers.\1.feed_forward.w2",
    r"model\.layers\.(\d+)\.mlp\.up_proj": r"layers.\1.feed_forward.w3",
    r"model\.layers\.(\d+)\.block_sparse_moe\.gate": r"layers.\1.feed_forward.gate",
    r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.(w[123])": r"layers.\1.feed_forward.experts.\2.\3",
}


def params_of(config: dict[str, Any]) -> dict[str, Any]:
    """The params.json of a config.json."""
    params = {new: config[old] for old, new in SIZES.items() if config.get(old) is not None}
    params.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    params["rope_theta"] = config["rope_parameters"]["rope_theta"]
    params["tied_embeddings"] = config["tie_word_embeddings"]
    if config.get("sliding_window") is not None:
        params["sliding_window"] = config["sliding_window"]
    if "num_local_experts" in config:
        params["moe"] = {"num_experts": config["num_local_experts"],
                         "num_experts_per_tok": config["num_experts_per_tok"]}
    return params


def mistral_name(name: str) -> str:
    """What a tensor is called in a consolidated file."""
    stem, suffix = name.rsplit(".", 1)
    pattern, target = next((p, t) for p, t in STEMS.items() if re.fullmatch(p, stem))
    return f"{re.sub(pattern, target, stem)}.{suffix}"


def in_pairs(tensor: Tensor, head_dim: int) -> Tensor:
    """Rows j and j + D/2 of each head beside each other."""
    rows = []
    for head in range(0, len(tensor), head_dim):
        for j in range(head_dim // 2):
            rows += [tensor[head + j], tensor[head + j + head_dim // 2]]
    return torch.stack(rows)


def consolidated(state: dict[str, Tensor], head_dim: int) -> dict[str, Tensor]:
    """All tensors of a consolidated file."""
    found = {}
    for name, tensor in state.items():
        is_rotated = re.search(r"self_attn\.[qk]_proj", name) is not None
        found[mistral_name(name)] = in_pairs(tensor, head_dim) if is_rotated else tensor.contiguous()
    return found


def rewrite(source: Path, target: Path, *, num_files: int = 1, change=None, **params: Any) -> Path:
    """A directory in Mistral's format of a Hugging Face one. change: of the tensors; params: put over params.json."""
    target.mkdir(parents=True, exist_ok=True)
    config = params_of(json.loads((source / "config.json").read_text()))
    (target / "params.json").write_text(json.dumps(config | params))
    tensors = consolidated(load_file(source / "model.safetensors"), config["head_dim"])
    if change is not None:
        tensors = change(tensors)
    names = list(tensors)
    for i in range(num_files):
        part = "" if num_files == 1 else f"-{i + 1:05}-of-{num_files:05}"
        save_file({name: tensors[name] for name in names[i::num_files]}, target / f"consolidated{part}.safetensors")
    return target
