"""Writes a Q4_K_M GGUF file with the shape of a Qwen3 checkpoint and random blocks, for benchmarks.

    python benchmarks/make_checkpoint.py qwen3-0.6b /tmp/qwen3-0.6b
    python benchmarks/make_gguf.py /tmp/qwen3-0.6b /tmp/qwen3-0.6b-q4_k_m.gguf

The choice between Q6_K and Q4_K for each tensor follows llama.cpp (`llama_tensor_get_type` in llama-quant.cpp). Needs
the package gguf.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

SCALES = {"Q4_K": (0, 2), "Q6_K": (208,)}                     # byte offsets of a block's float16 scales
SIZES = {"Q4_K": 0.02 / 280, "Q6_K": 0.02 / 1200}             # scales that give weights of about 0.02


def main() -> None:
    """Read the checkpoint's sizes and tokenizer, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="of make_checkpoint.py, a Qwen3 shape")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    config = json.loads((options.checkpoint / "config.json").read_text())
    tokenizer = json.loads((options.checkpoint / "tokenizer.json").read_text())
    if config.get("model_type") != "qwen3":
        raise SystemExit(f"{options.checkpoint}: model_type is {config.get('model_type')!r}, expected 'qwen3'")
    writer = gguf.GGUFWriter(str(options.out), "qwen3")
    add_sizes(writer, config)
    add_tokenizer(writer, config, tokenizer)
    add_tensors(writer, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_sizes(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The metadata about the model."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(float(config.get("rope_theta", 1e6)))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def add_tokenizer(writer: gguf.GGUFWriter, config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    """The byte-level BPE of a tokenizer.json."""
    names = {token_id: text for text, token_id in tokenizer["model"]["vocab"].items()}
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    count = config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([special.get(i, names.get(i, f"<unused{i}>")) for i in range(count)])
    writer.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(count)])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])


def add_tensors(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Random blocks, and ones for norms."""
    layers, hidden, inner = config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]
    size = config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    random = np.random.default_rng(0)

    def matrix(name: str, kind: str, rows: int, columns: int) -> None:
        writer.add_tensor(f"{name}.weight", blocks(random, kind, rows, columns),
                          raw_dtype=gguf.GGMLQuantizationType[kind])

    matrix("token_embd", "Q6_K", config["vocab_size"], hidden)
    writer.add_tensor("output_norm.weight", np.ones(hidden, dtype=np.float32))
    for i in range(layers):
        is_fine = i < layers // 8 or i >= 7 * layers // 8 or (i - layers // 8) % 3 == 2
        for name, width in (("attn_norm", hidden), ("ffn_norm", hidden), ("attn_q_norm", size), ("attn_k_norm", size)):
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ones(width, dtype=np.float32))
        matrix(f"blk.{i}.attn_q", "Q4_K", queries, hidden)
        matrix(f"blk.{i}.attn_k", "Q4_K", keys, hidden)
        matrix(f"blk.{i}.attn_v", "Q6_K" if is_fine else "Q4_K", keys, hidden)
        matrix(f"blk.{i}.attn_output", "Q4_K", hidden, queries)
        matrix(f"blk.{i}.ffn_gate", "Q4_K", inner, hidden)
        matrix(f"blk.{i}.ffn_up", "Q4_K", inner, hidden)
        matrix(f"blk.{i}.ffn_down", "Q6_K" if is_fine else "Q4_K", hidden, inner)


def blocks(random: np.random.Generator, kind: str, rows: int, columns: int) -> np.ndarray:
    """Random blocks of a format with 256 values a block, [rows, bytes]; only the scales are set to sane sizes."""
    length, num_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    raw = random.integers(0, 256, (rows * columns // length, num_bytes), dtype=np.uint8)
    for at in SCALES[kind]:
        scales = (SIZES[kind] * random.uniform(0.5, 1.5, (len(raw), 1))).astype(np.float16)
        raw[:, at : at + 2] = scales.view(np.uint8)
    return raw.reshape(rows, -1)


if __name__ == "__main__":
    main()
