"""Sizes of a made-up model, for what is said of a family without a checkpoint: `weft models`, the registry."""

from __future__ import annotations

from typing import Any

# Sizes, under all key names that families use; no key that changes how a model computes.
SAMPLE: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 12, "num_attention_heads": 4, "head_dim": 16,
    "intermediate_size": 128, "max_position_embeddings": 8192, "n_embd": 64, "n_layer": 12, "n_head": 4,
    "n_positions": 1024, "ffn_dim": 128, "kv_channels": 16, "seq_length": 2048, "num_key_value_heads": 2,
    "num_kv_heads": 2, "num_local_experts": 8, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "n_routed_experts": 8, "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "kv_lora_rank": 32,
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "layer_norm_eps": 1e-5, "layer_norm_epsilon": 1e-5,
}
