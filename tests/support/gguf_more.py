"""What llama.cpp's converter does to the families of 2025 and to older small ones: metadata and names, as data.

`gguf_models.py` writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Transformers' model_type -> general.architecture
MORE_ARCHITECTURES = {
    "dots1": "dots1", "ernie4_5": "ernie4_5", "ernie4_5_moe": "ernie4_5-moe", "exaone4": "exaone4",
    "hunyuan_v1_dense": "hunyuan-dense", "hunyuan_v1_moe": "hunyuan-moe", "olmoe": "olmoe", "phimoe": "phimoe",
    "granitemoe": "granitemoe", "granitemoeshared": "granitemoe", "glm4_moe": "glm4moe", "minimax_m2": "minimax-m2",
    "mpt": "mpt", "nemotron": "nemotron", "gpt_bigcode": "starcoder", "lfm2": "lfm2", "lfm2_moe": "lfm2moe",
    "jamba": "jamba",
}
_SIGMOID = 2
_FINE = {"expert_count": "n_routed_experts", "expert_shared_count": "n_shared_experts", "expert_group_count": "n_group",
         "expert_weights_scale": "routed_scaling_factor", "expert_weights_norm": "norm_topk_prob",
         "expert_group_used_count": "topk_group", "leading_dense_block_count": "first_k_dense_replace",
         "expert_gating_func": _SIGMOID}
_CONV = {"shortconv.l_cache": "conv_L_cache", "attention.layer_norm_rms_epsilon": "norm_eps"}
# Metadata key, without the architecture in front -> attribute of the config, or a value.
METADATA: Mapping[str, Mapping[str, Any]] = {
    "dots1": _FINE,
    "glm4moe": _FINE | {"nextn_predict_layers": "num_nextn_predict_layers"},
    "ernie4_5-moe": {
        "expert_count": "moe_num_experts", "expert_used_count": "moe_k",
        "expert_shared_count": "moe_num_shared_experts", "interleave_moe_layer_step": "moe_layer_interval",
        "leading_dense_block_count": "moe_layer_start_index",
        "expert_shared_feed_forward_length": 48},
    "hunyuan-moe": {"expert_used_count": "moe_topk", "expert_shared_count": 1, "expert_feed_forward_length":
                    "intermediate_size", "expert_shared_feed_forward_length": "intermediate_size"},
    "minimax-m2": {"expert_gating_func": _SIGMOID, "expert_feed_forward_length": "intermediate_size",
                   "rope.dimension_count": "rotary_dim"},
    "granitemoe": {"expert_shared_feed_forward_length": "shared_intermediate_size"},
    "phimoe": {"attention.layer_norm_rms_epsilon": "rms_norm_eps", "attention.sliding_window": "sliding_window"},
    "nemotron": {"attention.layer_norm_epsilon": "norm_eps"},
    "starcoder": {"attention.head_count_kv": 1},
    "jamba": {"ssm.conv_kernel": "mamba_d_conv", "ssm.state_size": "mamba_d_state",
              "ssm.time_step_rank": "mamba_dt_rank", "expert_count": "num_experts"},
    "lfm2": _CONV,
    "lfm2moe": _CONV | {"leading_dense_block_count": "num_dense_layers", "expert_gating_func": _SIGMOID},
}
# Part of a name in Transformers -> the same in published checkpoints, or as the converter changes it.
_RENAMED = (
    ("gate.moe_statics.e_score", "moe_statics.e_score"), ("e_score_correction_bias", "e_score_correction.bias"),
    ("expert_bias", "expert_bias.bias"), ("block_sparse_moe.router.", "block_sparse_moe.router.layer."),
    ("block_sparse_moe.experts.", "mlp.experts."), ("feed_forward.experts.", "mlp.experts."),
)


def more_metadata(name: str, config: Any) -> dict[str, Any]:
    """{key without the architecture: value} of what these families have besides."""
    found = {key: getattr(config, value, None) if isinstance(value, str) else value
             for key, value in METADATA.get(name, {}).items()}
    if name == "mpt":
        found |= {"attention.clamp_kqv": config.attn_config.clip_qkv,
                  "attention.max_alibi_bias": float(config.attn_config.alibi_bias_max)}
    if name.startswith("hunyuan"):       # alpha is in the base
        size, rope = config.head_dim, config.rope_parameters
        alpha = rope.get("alpha") or 1.0
        found |= {"rope.freq_base": rope["rope_theta"] * alpha ** (size / (size - 2)), "rope.scaling.type": "none",
                  "rope.scaling.factor": 1.0, "rope.scaling.original_context_length": 1 << 18}
    kinds = getattr(config, "layer_types", None) or []
    if name in ("lfm2", "lfm2moe", "jamba"):
        heads = config.num_key_value_heads
        found["attention.head_count_kv"] = [heads * (kind == "full_attention") for kind in kinds]
    if name == "jamba":
        found["ssm.inner_size"] = config.mamba_expand * config.hidden_size
    if name == "lfm2":                   # the size that the family makes of the config's, and what its layers have
        found["feed_forward_length"] = feed_forward(config)
    return found


def feed_forward(config: Any) -> int:
    """The inner size of LFM2's feed-forward parts."""
    if not config.block_auto_adjust_ff_dim:
        return config.intermediate_size
    size = int(config.block_ffn_dim_multiplier * int(2 * config.intermediate_size / 3))
    return -(-size // config.block_multiple_of) * config.block_multiple_of


def renamed(name: str, full: str, tensor: Tensor) -> tuple[str, Tensor]:
    """A tensor of these families under the name that the converter looks up."""
    if name == "nemotron" and full.endswith("norm.weight"):
        tensor = tensor + 1
    if full.endswith(".A_log"):
        tensor = -tensor.exp()
    if name in MORE_ARCHITECTURES.values():
        for before, after in _RENAMED:
            full = full.replace(before, after)
    return full, tensor
