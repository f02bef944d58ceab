"""Tiny models, as data: for each family the configs that make it take every branch of its description.

`cls` is a Transformers class (its config class follows), `config` its arguments. `legacy` writes the rope keys of
config.json as Transformers 4 did. Sizes are small and odd enough that a swapped pair of dimensions shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SIZES = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    # Large enough to show.
    "rms_norm_eps": 0.01, "layer_norm_eps": 0.01, "layer_norm_epsilon": 0.01, "norm_epsilon": 0.01,
}
STATE_SIZES = {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 12, "bos_token_id": 1,
               "eos_token_id": 2, "pad_token_id": 0, "layer_norm_epsilon": 0.01}
GPT2_SIZES = {"vocab_size": 320, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 1,
              "eos_token_id": 2, "layer_norm_epsilon": 0.01}
ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]
NUM_FREQUENCIES = 8     # of a head of 16
SHORT = [1.0 + 0.05 * i for i in range(NUM_FREQUENCIES)]
LONG = [1.5 + 0.4 * i for i in range(NUM_FREQUENCIES)]


def rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 5000.0, **values}}


@dataclass(frozen=True)
class Tiny:
    """A tiny model: Transformers' class, its sizes and what this variant changes."""

    cls: str
    config: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=lambda: SIZES)
    legacy: bool = False
    drop: tuple[str, ...] = ()     # keys taken out of config.json, as older configs lack them
    attention: str = "eager"       # Transformers' implementation to compare with

    @property
    def values(self) -> dict[str, Any]:
        return self.sizes | self.config


# Eight experts in four groups; a head of q and k is 16 + 8, one of v 20.
DEEPSEEK = {"num_hidden_layers": 3, "num_key_value_heads": 4, "kv_lora_rank": 24, "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8, "v_head_dim": 20, "n_routed_experts": 8, "num_experts_per_tok": 3,
            "moe_intermediate_size": 40, "n_shared_experts": 2, "first_k_dense_replace": 1, "n_group": 4,
            "topk_group": 2}
DEEPSEEK_YARN = rope("yarn", factor=4.0, original_max_position_embeddings=64, mscale=0.707, mscale_all_dim=0.707,
                     beta_fast=32, beta_slow=1)


def deepseek(cls: str, **config: Any) -> Tiny:
    return Tiny(cls, DEEPSEEK | config)


def llama(**config: Any) -> Tiny:
    return Tiny("LlamaForCausalLM", config)


# Models with states, whose tests are in test_state_models.py.
STATE_VARIANTS: dict[str, Tiny] = {
    "mamba": Tiny("MambaForCausalLM", sizes=STATE_SIZES),
    "mamba-biases": Tiny("MambaForCausalLM", {
        "use_bias": True, "use_conv_bias": False, "conv_kernel": 3, "time_step_rank": 5, "expand": 3,
        "tie_word_embeddings": False}, sizes=STATE_SIZES),
    "falcon-mamba": Tiny("FalconMambaForCausalLM", {"mixer_rms_eps": 1e-6, "tie_word_embeddings": False},
                         sizes=STATE_SIZES),
    "mamba2": Tiny("Mamba2ForCausalLM", {"num_heads": 8, "head_dim": 16, "n_groups": 1}, sizes=STATE_SIZES),
    "mamba2-groups": Tiny("Mamba2ForCausalLM", {
        "num_heads": 4, "head_dim": 32, "n_groups": 2, "use_bias": True, "tie_word_embeddings": True,
        "chunk_size": 16}, sizes=STATE_SIZES),
}

VARIANTS: dict[str, Tiny] = {
    "llama": llama(),
    "llama-biases-wide-heads": llama(attention_bias=True, mlp_bias=True, head_dim=24),
    "llama-tied-multi-query": llama(tie_word_embeddings=True, num_key_value_heads=1),
    "llama-linear": llama(**rope("linear", factor=4.0)),
    "llama-linear-legacy": Tiny("LlamaForCausalLM", rope("linear", factor=4.0), legacy=True, drop=("head_dim",)),
    "llama-dynamic": llama(**rope("dynamic", factor=2.0)),
    "llama-dynamic-stretched": llama(max_position_embeddings=80, **rope("dynamic", factor=2.0)),
    "llama-llama3": llama(**rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                 original_max_position_embeddings=64)),
    "llama-yarn": llama(**rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    "llama-yarn-mscale": llama(**rope("yarn", factor=4.0, original_max_position_embeddings=64, mscale=0.8, beta_fast=4,
                                      mscale_all_dim=0.5, truncate=False)),
    "llama-longrope": llama(**rope("longrope", factor=4.0, original_max_position_embeddings=64, short_factor=SHORT,
                                   long_factor=LONG)),
    "mistral": Tiny("MistralForCausalLM", {"sliding_window": 12}),
    "mistral-no-window": Tiny("MistralForCausalLM", {"sliding_window": None, "head_dim": 24}),
    "qwen2": Tiny("Qwen2ForCausalLM"),
    "qwen2-window-tied": Tiny("Qwen2ForCausalLM", {"use_sliding_window": True, "sliding_window": 12,
                                                   "max_window_layers": 1, "tie_word_embeddings": True}),
    "qwen2-moe": Tiny("Qwen2MoeForCausalLM", {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "shared_expert_intermediate_size": 56,
        "mlp_only_layers": [0]}),
    "qwen3": Tiny("Qwen3ForCausalLM", {"head_dim": 32}),
    "qwen3-bias": Tiny("Qwen3ForCausalLM", {"head_dim": 16, "attention_bias": True, "tie_word_embeddings": True}),
    "qwen3-moe": Tiny("Qwen3MoeForCausalLM", {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "norm_topk_prob": True,
        "head_dim": 32}),
    "qwen3-moe-every-second": Tiny("Qwen3MoeForCausalLM", {
        "num_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 40, "decoder_sparse_step": 2,
        "use_sliding_window": True, "sliding_window": 12}),
    "mixtral": Tiny("MixtralForCausalLM", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "mixtral-window": Tiny("MixtralForCausalLM", {
        "num_local_experts": 3, "num_experts_per_tok": 1, "sliding_window": 12}),
    "gemma": Tiny("GemmaForCausalLM", {"head_dim": 24, "hidden_act": "gelu"}),
    "gemma2": Tiny("Gemma2ForCausalLM", {
        "num_hidden_layers": 3, "head_dim": 24, "query_pre_attn_scalar": 20, "sliding_window": 12,
        "attn_logit_softcapping": 4.0, "final_logit_softcapping": 8.0}),
    "gemma2-no-caps": Tiny("Gemma2ForCausalLM", {
        "head_dim": 16, "attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True}),
    "gemma3": Tiny("Gemma3ForCausalLM", {
        "num_hidden_layers": 3, "head_dim": 24, "query_pre_attn_scalar": 20, "sliding_window": 12,
        "layer_types": ALTERNATING, "final_logit_softcapping": 8.0, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}}),
    "gemma3-legacy": Tiny("Gemma3ForCausalLM", {
        "num_hidden_layers": 3, "head_dim": 16, "sliding_window": 12, "sliding_window_pattern": 3, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}}, legacy=True, drop=("layer_types",)),
    "phi3": Tiny("Phi3ForCausalLM"),
    "phi3-longrope-short": Tiny("Phi3ForCausalLM", {
        "max_position_embeddings": 1024, "original_max_position_embeddings": 200,
        **rope("longrope", short_factor=SHORT, long_factor=LONG)}),
    "phi3-longrope-long": Tiny("Phi3ForCausalLM", {
        "max_position_embeddings": 1024, "original_max_position_embeddings": 64,
        **rope("longrope", short_factor=SHORT, long_factor=LONG)}, legacy=True),
    "phi3-partial-window": Tiny("Phi3ForCausalLM", {
        "sliding_window": 12, "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0,
                                                  "partial_rotary_factor": 0.75}}),
    "gpt2": Tiny("GPT2LMHeadModel", sizes=GPT2_SIZES),
    "gpt2-inverse-layer-scale": Tiny("GPT2LMHeadModel", {
        "scale_attn_by_inverse_layer_idx": True, "n_inner": 80, "tie_word_embeddings": False,
        "activation_function": "relu"}, sizes=GPT2_SIZES),
    "gpt2-unscaled": Tiny("GPT2LMHeadModel", {"scale_attn_weights": False}, sizes=GPT2_SIZES),
    "gpt-neox": Tiny("GPTNeoXForCausalLM", {"rotary_pct": 0.5}),
    "gpt-neox-sequential": Tiny("GPTNeoXForCausalLM", {
        "use_parallel_residual": False, "attention_bias": False, "rotary_pct": 1.0, "tie_word_embeddings": True}),
    "gpt-neox-legacy": Tiny("GPTNeoXForCausalLM", {"rotary_pct": 0.25, "hidden_act": "gelu_new"}, legacy=True),
    "falcon-7b": Tiny("FalconForCausalLM"),
    # Transformers' eager Falcon adds ALiBi twice, to the scores and in the mask; its default implementation once.
    "falcon-rw": Tiny("FalconForCausalLM", {
        "multi_query": False, "parallel_attn": False, "bias": True, "alibi": True, "tie_word_embeddings": False},
        attention="sdpa"),
    "falcon-alibi-parallel": Tiny("FalconForCausalLM", {
        "hidden_size": 96, "num_attention_heads": 6, "alibi": True, "ffn_hidden_size": 112}, attention="sdpa"),
    "falcon-40b": Tiny("FalconForCausalLM", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-11b": Tiny("FalconForCausalLM", {
        "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1, "bias": True}),
    "bloom": Tiny("BloomForCausalLM", {"n_layer": 2, "n_head": 4}),
    "bloom-six-heads": Tiny("BloomForCausalLM", {"hidden_size": 96, "n_layer": 2, "n_head": 6,
                                                 "tie_word_embeddings": False}),
    "opt": Tiny("OPTForCausalLM", {"ffn_dim": 96}),
    "opt-350m": Tiny("OPTForCausalLM", {"ffn_dim": 96, "do_layer_norm_before": False, "word_embed_proj_dim": 40}),
    "opt-bare": Tiny("OPTForCausalLM", {
        "ffn_dim": 96, "enable_bias": False, "layer_norm_elementwise_affine": False, "_remove_final_layer_norm": True,
        "activation_function": "gelu", "tie_word_embeddings": False}),
    "cohere": Tiny("CohereForCausalLM", {"logit_scale": 0.25}),
    "cohere-norms-and-biases": Tiny("CohereForCausalLM", {
        "use_qk_norm": True, "attention_bias": True, "tie_word_embeddings": False, "logit_scale": 2.0}),
    "cohere2": Tiny("Cohere2ForCausalLM", {
        "num_hidden_layers": 3, "sliding_window": 12, "layer_types": ALTERNATING, "logit_scale": 0.25}),
    "deepseek-v2-lite": deepseek("DeepseekV2ForCausalLM", q_lora_rank=None, kv_lora_rank=28, topk_method="greedy",
                                 **DEEPSEEK_YARN),
    "deepseek-v2": deepseek("DeepseekV2ForCausalLM", q_lora_rank=28, topk_method="group_limited_greedy",
                            routed_scaling_factor=3.0, **DEEPSEEK_YARN),
    "deepseek-v2-wide-values-biases": deepseek("DeepseekV2ForCausalLM", q_lora_rank=28, v_head_dim=36,
                                               attention_bias=True, mlp_bias=True),
    "deepseek-v3": deepseek("DeepseekV3ForCausalLM", q_lora_rank=28, **DEEPSEEK_YARN),
    "deepseek-v3-halves": deepseek("DeepseekV3ForCausalLM", q_lora_rank=None, rope_interleave=False, n_group=1,
                                   topk_group=1, norm_topk_prob=False, routed_scaling_factor=1.5,
                                   attention_bias=True),
    "glm": Tiny("GlmForCausalLM", {"head_dim": 24, "attention_bias": False}),
    "glm4": Tiny("Glm4ForCausalLM", {"head_dim": 24}),
    "glm4-no-bias": Tiny("Glm4ForCausalLM", {
        "head_dim": 16, "attention_bias": False, **rope("linear", factor=4.0, partial_rotary_factor=0.25)}),
    "granite": Tiny("GraniteForCausalLM", {
        "embedding_multiplier": 6.0, "logits_scaling": 0.5, "residual_multiplier": 0.7, "attention_multiplier": 0.2}),
    "granite-biases": Tiny("GraniteForCausalLM", {
        "attention_bias": True, "mlp_bias": True, "attention_multiplier": 0.3}),
    "olmo": Tiny("OlmoForCausalLM", {"clip_qkv": 0.8}),
    "olmo2": Tiny("Olmo2ForCausalLM"),
    "olmo3": Tiny("Olmo3ForCausalLM", {
        "num_hidden_layers": 3, "sliding_window": 12, "layer_types": ALTERNATING, "rope_parameters": {
            "full_attention": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5000.0,
                               "original_max_position_embeddings": 64},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0}}}),
    "stablelm": Tiny("StableLmForCausalLM", {"use_qkv_bias": True}),
    "stablelm-12b": Tiny("StableLmForCausalLM", {
        "qk_layernorm": True, "use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    "starcoder2": Tiny("Starcoder2ForCausalLM", {"sliding_window": 12}),
    "starcoder2-bare": Tiny("Starcoder2ForCausalLM", {"use_bias": False, "tie_word_embeddings": False}),
    "phi": Tiny("PhiForCausalLM"),
    "phi-norms": Tiny("PhiForCausalLM", {"qk_layernorm": True, "partial_rotary_factor": 0.75}),
    "gptj": Tiny("GPTJForCausalLM", {"rotary_dim": 8}, sizes=GPT2_SIZES),
    "smollm3": Tiny("SmolLM3ForCausalLM", {"num_hidden_layers": 3, "no_rope_layers": [1, 0, 1]}),
    "smollm3-window": Tiny("SmolLM3ForCausalLM", {
        "num_hidden_layers": 3, "no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 12,
        "attention_bias": True, "mlp_bias": True}),
    "seed-oss": Tiny("SeedOssForCausalLM", {"head_dim": 24}),
    "arcee": Tiny("ArceeForCausalLM", {"mlp_bias": True}),
}
