"""Tiny models with states beside attention, as data: as tiny_variants.py, for test_state_models.py."""

from __future__ import annotations

from tiny_variants import SIZES, Tiny

# Heads of Mamba 2: 8 of 16, in two groups; a state of 12.
MAMBA2 = {"num_hidden_layers": 3, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_d_state": 12,
          "mamba_d_conv": 4, "mamba_chunk_size": 16, "tie_word_embeddings": False}
BAMBA = MAMBA2 | {"attn_layer_indices": [1]}
FALCON_H1 = MAMBA2 | {"mamba_d_ssm": 128, "tie_word_embeddings": False}
FACTORS = {"attention_in_multiplier": 0.9, "attention_out_multiplier": 1.1, "embedding_multiplier": 1.3,
           "key_multiplier": 0.8, "lm_head_multiplier": 0.7, "mlp_multipliers": [0.9, 1.2], "ssm_in_multiplier": 1.2,
           "ssm_multipliers": [0.9, 1.1, 0.8, 1.2, 0.7], "ssm_out_multiplier": 0.9}
JAMBA = {"num_hidden_layers": 4, "attn_layer_offset": 1, "attn_layer_period": 3, "expert_layer_offset": 1,
         "expert_layer_period": 2, "mamba_d_state": 12, "num_experts": 4, "tie_word_embeddings": False}
NEMOTRON_H = {"layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp", "mlp"], "mamba_num_heads": 8,
              "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 12, "head_dim": 24, "chunk_size": 16,
              "conv_kernel": 4, "expand": 2}
NEMOTRON_SIZES = {name: size for name, size in SIZES.items() if name != "num_hidden_layers"}
LFM2 = {"layer_types": ["conv", "full_attention", "conv"], "num_hidden_layers": 3, "norm_eps": 0.01,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}
# Four heads of values for two of keys: 12 x 20 numbers of state each.
DELTA = {"layer_types": ["linear_attention", "full_attention", "linear_attention"], "num_hidden_layers": 3,
         "linear_conv_kernel_dim": 4, "linear_key_head_dim": 12, "linear_value_head_dim": 20, "linear_num_key_heads": 2,
         "linear_num_value_heads": 4, "tie_word_embeddings": False}
QWEN_DELTA = DELTA | {"head_dim": 24, "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0,
                                                          "partial_rotary_factor": 0.5}}
QWEN_MOE = QWEN_DELTA | {"num_experts": 4, "num_experts_per_tok": 4, "moe_intermediate_size": 32,
                         "shared_expert_intermediate_size": 48}
KIMI = {"layer_types": ["linear_attention", "full_attention", "linear_attention"], "num_hidden_layers": 3,
        "mlp_layer_types": ["dense", "dense", "dense"], "linear_head_dim": 12, "linear_num_heads": 4,
        "linear_conv_kernel_dim": 4, "kv_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
        "v_head_dim": 20, "num_key_value_heads": 4,
        "moe_intermediate_size": 32, "num_experts": 8, "num_expert_group": 2, "topk_group": 1,
        "num_experts_per_token": 2, "tie_word_embeddings": False}
GRANITE = MAMBA2 | {"layer_types": ["linear_attention", "full_attention", "linear_attention"], "num_local_experts": 0,
                    "shared_intermediate_size": 48, "attention_multiplier": 0.2, "embedding_multiplier": 3.0,
                    "logits_scaling": 4.0, "residual_multiplier": 0.7, "position_embedding_type": "rope"}
MINIMAX = {"layer_types": ["linear_attention", "full_attention", "linear_attention"], "num_hidden_layers": 3,
           "head_dim": 24, "block_size": 16, "num_local_experts": 4, "num_experts_per_tok": 4}

HYBRID_VARIANTS: dict[str, Tiny] = {
    "bamba": Tiny("BambaForCausalLM", BAMBA),
    "bamba-biases": Tiny("BambaForCausalLM", BAMBA | {
        "attention_bias": True, "mlp_bias": True, "mamba_proj_bias": True, "mamba_conv_bias": False,
        "time_step_limit": [0.1, 0.9], "tie_word_embeddings": True}),
    "jamba-dense-biases": Tiny("JambaForCausalLM", JAMBA | {
        "num_experts": 1, "num_experts_per_tok": 1, "mamba_proj_bias": True, "mamba_conv_bias": False,
        "mamba_dt_rank": 5, "num_hidden_layers": 2, "attn_layer_period": 2}),
    "jamba": Tiny("JambaForCausalLM", JAMBA),
    "falcon-h1": Tiny("FalconH1ForCausalLM", FALCON_H1 | FACTORS),
    "falcon-h1-norm-first": Tiny("FalconH1ForCausalLM", FALCON_H1 | {
        "mamba_rms_norm": True, "mamba_norm_before_gate": True, "attention_bias": True, "mlp_bias": True} | FACTORS),
    "falcon-h1-norm-last": Tiny("FalconH1ForCausalLM", FALCON_H1 | {
        "mamba_rms_norm": True, "mamba_norm_before_gate": False, "mamba_proj_bias": True, "projectors_bias": True}),
    "nemotron-h": Tiny("NemotronHForCausalLM", NEMOTRON_H, sizes=NEMOTRON_SIZES),
    "nemotron-h-biases": Tiny("NemotronHForCausalLM", NEMOTRON_H | {
        "use_bias": True, "mlp_bias": True, "use_conv_bias": False, "mlp_hidden_act": "silu"}, sizes=NEMOTRON_SIZES),
    "lfm2": Tiny("Lfm2ForCausalLM", LFM2 | {"block_multiple_of": 16}),
    "lfm2-biases": Tiny("Lfm2ForCausalLM", LFM2 | {
        "conv_bias": True, "conv_L_cache": 4, "block_auto_adjust_ff_dim": False, "tie_word_embeddings": False}),
    "lfm2-moe-no-bias": Tiny("Lfm2MoeForCausalLM", LFM2 | {
        "num_dense_layers": 1, "num_experts": 4, "num_experts_per_tok": 4, "moe_intermediate_size": 32,
        "use_expert_bias": False, "norm_topk_prob": False, "tie_word_embeddings": False}),
    "lfm2-moe": Tiny("Lfm2MoeForCausalLM", LFM2 | {
        "num_dense_layers": 1, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "routed_scaling_factor": 1.5}),
    "qwen3-next-dense": Tiny("Qwen3NextForCausalLM", QWEN_MOE | {
        "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"], "mlp_only_layers": [0, 1]}),
    "qwen3-next": Tiny("Qwen3NextForCausalLM", QWEN_MOE | {
        "attention_bias": True, "norm_topk_prob": False, "mlp_only_layers": [1]}),
    "qwen3.5": Tiny("Qwen3_5ForCausalLM", QWEN_DELTA),
    "qwen3.5-moe": Tiny("Qwen3_5MoeForCausalLM", QWEN_MOE),
    "olmo-hybrid": Tiny("OlmoHybridForCausalLM", DELTA | {"linear_value_head_dim": 12, "linear_num_key_heads": 4}),
    "olmo-hybrid-no-rope": Tiny("OlmoHybridForCausalLM", DELTA | {
        "linear_value_head_dim": 12, "linear_num_key_heads": 4, "linear_allow_neg_eigval": False,
        "attention_bias": True, "rope_parameters": None}),
    "kimi-linear": Tiny("KimiLinearForCausalLM", KIMI),
    "kimi-linear-moe": Tiny("KimiLinearForCausalLM", KIMI | {
        "mlp_layer_types": ["dense", "sparse", "sparse"], "attention_bias": True, "q_lora_rank": 20,
        "moe_renormalize": False}),
    "granite-hybrid": Tiny("GraniteMoeHybridForCausalLM", GRANITE),
    "granite-hybrid-moe": Tiny("GraniteMoeHybridForCausalLM", GRANITE | {
        "num_local_experts": 4, "num_experts_per_tok": 2, "position_embedding_type": None}),
    "minimax": Tiny("MiniMaxForCausalLM", MINIMAX | {
        "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}),
    "minimax-factors": Tiny("MiniMaxForCausalLM", MINIMAX | {
        "num_experts_per_tok": 2, "linear_attn_alpha_factor": 1.5, "linear_attn_beta_factor": 0.8,
        "full_attn_alpha_factor": 0.9, "full_attn_beta_factor": 1.2, "mlp_alpha_factor": 1.3, "mlp_beta_factor": 0.7}),
}
