"""Data: maps `general.architecture` of a GGUF file to a model class, and a family's metadata to config keys.

Used by `gguf/config.py`. A family of `architectures/` that exists as GGUF too needs an entry here, a name map there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFFamily:
    """How one family's metadata become config keys.

    keys: {metadata key without the architecture: config key}, besides the shared KEYS; None: the key is not needed.
        A dot in a config key leads into a nested config.
    flags: {config key: name of a tensor, in layer 0 or in none, or several names}; the flag is true if any of the
        tensors exists.
    layer_kinds: the kinds of layers with KV heads and of layers without, for hybrid models, whose files state the
        number of KV heads for each layer; None: all layers have attention.
    has_periods: such a model's config says which layers have attention, and which experts, by period and offset.
    choices: {config key: (tensor of layer 0, the value if the tensor exists, the value if not)}.
    constants: config values that hold for all files of the family and that no file states.
    has_rope: the family has rotary positions, with base 10000 unless the file says otherwise.
    if_above: {metadata key: (number, the family to use instead when the file's value is larger)}.
    if_true: {metadata key: the family to use instead when the file's value is true}.
    head_dim: the config key for the size of a head; None: such configs have none, it is hidden_size / heads.
    local_rope_base: the rotary base of layers with a window, unless the file says another; None: all layers have one.
    is_latent: the family has latent attention (MLA), whose head sizes have separate keys.
    wide_scale_layers: for families with `query_pre_attn_scalar`, which files do not state: the number of layers of the
        largest model, where it is hidden_size / heads. In the other models it is head_dim. 0: in all.
    is_encoder: files may have a table of token types, and say how states are pooled.
    """

    architecture: str
    model_type: str
    keys: Mapping[str, str | None] = field(default_factory=dict)
    flags: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, Any, Any]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    has_rope: bool = True
    head_dim: str | None = "head_dim"
    local_rope_base: float | None = None
    is_latent: bool = False
    if_above: Mapping[str, tuple[int, GGUFFamily]] = field(default_factory=dict)
    if_true: Mapping[str, GGUFFamily] = field(default_factory=dict)
    wide_scale_layers: int | None = None
    layer_kinds: tuple[str, str] | None = None
    has_periods: bool = False
    is_encoder: bool = False


_BIASES = {"attention_bias": "attn_q.bias", "mlp_bias": "ffn_up.bias"}
_QKV_BIAS = {"attention_bias": "attn_q.bias"}
_EXPERTS = {"expert_feed_forward_length": "moe_intermediate_size", "expert_weights_norm": "norm_topk_prob"}
_LOCAL_EXPERTS = {"expert_count": "num_local_experts"}
_NO_KV = {"attention.head_count_kv": None}
_EPSILON = {"attention.layer_norm_epsilon": "layer_norm_epsilon"}

_MISTRAL = GGUFFamily(architecture="MistralForCausalLM", model_type="mistral")
_MIXTRAL = GGUFFamily(architecture="MixtralForCausalLM", model_type="mixtral")
_FALCON = GGUFFamily(
    architecture="FalconForCausalLM", model_type="falcon", flags={"bias": "attn_qkv.bias"}, head_dim=None,
    keys=_EPSILON | {"attention.head_count_kv": "num_kv_heads", "feed_forward_length": "ffn_hidden_size"})
_FALCON_GROUPED = replace(_FALCON, constants={"new_decoder_architecture": True},
                          choices={"num_ln_in_parallel_attn": ("attn_norm_2.weight", 2, 1)})
_OLMO3 = GGUFFamily(architecture="Olmo3ForCausalLM", model_type="olmo3", flags=_QKV_BIAS)
_FINE_EXPERTS = _EXPERTS | {
    "expert_count": "n_routed_experts", "expert_shared_count": "n_shared_experts",
    "expert_weights_scale": "routed_scaling_factor", "expert_group_count": "n_group",
    "expert_group_used_count": "topk_group", "leading_dense_block_count": "first_k_dense_replace"}
_SIGMOID_EXPERTS = _FINE_EXPERTS | {"expert_gating_func": "scoring_func", "expert_shared_feed_forward_length": None}
# No metadata key says how expert groups are scored; DeepSeek V2 scores a group by its best expert.
_DEEPSEEK2 = GGUFFamily(
    architecture="DeepseekV2ForCausalLM", model_type="deepseek_v2", is_latent=True, flags={
        "attention_bias": "attn_kv_a_mqa.bias"},
    keys=_NO_KV | _FINE_EXPERTS | {
        "attention.key_length": None, "attention.value_length": None, "expert_gating_func": None,
        "attention.q_lora_rank": "q_lora_rank", "attention.kv_lora_rank": "kv_lora_rank",
        "rope.dimension_count": "qk_rope_head_dim"})
_DEEPSEEK2_GROUPS = replace(_DEEPSEEK2, constants={"topk_method": "group_limited_greedy"})
_DEEPSEEK3 = replace(_DEEPSEEK2, architecture="DeepseekV3ForCausalLM", model_type="deepseek_v3")

# Mamba files state zero heads and a feed-forward size of zero. Falcon Mamba has norms inside its mixers.
_MAMBA = GGUFFamily(
    architecture="MambaForCausalLM", model_type="mamba", has_rope=False,
    flags={"use_bias": "ssm_in.bias", "use_conv_bias": "ssm_conv1d.bias"}, keys={
        "attention.head_count": None, "feed_forward_length": None, "ssm.dt_b_c_rms": None,
        "attention.layer_norm_rms_epsilon": "layer_norm_epsilon", "ssm.inner_size": "intermediate_size",
        "ssm.conv_kernel": "conv_kernel", "ssm.state_size": "state_size", "ssm.time_step_rank": "time_step_rank"})
_MAMBA2_KEYS = {"ssm.time_step_rank": "num_heads", "ssm.group_count": "n_groups"}

_GRANITE = GGUFFamily(architecture="GraniteForCausalLM", model_type="granite", flags=_BIASES, keys={
    "attention.scale": "attention_multiplier", "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier", "logit_scale": "logits_scaling"})
_GRANITE_MOE = replace(_GRANITE, architecture="GraniteMoeForCausalLM", model_type="granitemoe", flags=_QKV_BIAS,
                       keys=dict(_GRANITE.keys) | _LOCAL_EXPERTS)
_GRANITE_MOE_SHARED = replace(
    _GRANITE_MOE, architecture="GraniteMoeSharedForCausalLM", model_type="granitemoeshared",
    keys=dict(_GRANITE_MOE.keys) | {"expert_shared_feed_forward_length": "shared_intermediate_size"})
_LFM2 = GGUFFamily(
    architecture="Lfm2ForCausalLM", model_type="lfm2", flags={"conv_bias": "shortconv.in_proj.bias"},
    constants={"block_auto_adjust_ff_dim": False}, layer_kinds=("full_attention", "conv"),
    keys={"shortconv.l_cache": "conv_L_cache", "attention.layer_norm_rms_epsilon": "norm_eps"})

_BERT = GGUFFamily(architecture="BertModel", model_type="bert", has_rope=False, head_dim=None, is_encoder=True,
                   keys=_NO_KV | {"attention.causal": None})

GGUF_FAMILIES: Mapping[str, GGUFFamily] = {
    "llama": GGUFFamily(architecture="LlamaForCausalLM", model_type="llama", flags=_BIASES,
                        if_above={"expert_count": (0, _MIXTRAL), "attention.sliding_window": (0, _MISTRAL)}),
    "qwen": GGUFFamily(architecture="QWenLMHeadModel", model_type="qwen", head_dim="kv_channels", keys=_NO_KV | {
        "attention.layer_norm_rms_epsilon": "layer_norm_epsilon"}),
    "qwen2": GGUFFamily(architecture="Qwen2ForCausalLM", model_type="qwen2"),
    "qwen2moe": GGUFFamily(
        architecture="Qwen2MoeForCausalLM", model_type="qwen2_moe", flags={"qkv_bias": "attn_q.bias"},
        keys=_EXPERTS | {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"}),
    "qwen3": GGUFFamily(architecture="Qwen3ForCausalLM", model_type="qwen3", flags=_QKV_BIAS),
    "qwen3moe": GGUFFamily(architecture="Qwen3MoeForCausalLM", model_type="qwen3_moe", flags=_QKV_BIAS, keys=_EXPERTS,
                           constants={"norm_topk_prob": True}),
    "gemma": GGUFFamily(architecture="GemmaForCausalLM", model_type="gemma", flags=_QKV_BIAS),
    "gemma2": GGUFFamily(architecture="Gemma2ForCausalLM", model_type="gemma2", flags=_QKV_BIAS, wide_scale_layers=46),
    "gemma3": GGUFFamily(architecture="Gemma3ForCausalLM", model_type="gemma3_text", flags=_QKV_BIAS,
                         keys={"rope.freq_base_swa": None}, local_rope_base=10000.0, wide_scale_layers=62),
    "phi2": GGUFFamily(architecture="PhiForCausalLM", model_type="phi"),
    "phi3": GGUFFamily(architecture="Phi3ForCausalLM", model_type="phi3"),
    "falcon": replace(_FALCON, if_above={"attention.head_count_kv": (1, _FALCON_GROUPED)}),
    "bloom": GGUFFamily(architecture="BloomForCausalLM", model_type="bloom", has_rope=False,
                        keys=_NO_KV | _EPSILON | {"feed_forward_length": "n_inner"}),
    "gpt2": GGUFFamily(architecture="GPT2LMHeadModel", model_type="gpt2", has_rope=False,
                       keys=_NO_KV | _EPSILON | {"feed_forward_length": "n_inner"}),
    "gptneox": GGUFFamily(architecture="GPTNeoXForCausalLM", model_type="gpt_neox", keys=_NO_KV, flags={
        "attention_bias": "attn_qkv.bias"}),
    "starcoder2": GGUFFamily(architecture="Starcoder2ForCausalLM", model_type="starcoder2", flags={
        "use_bias": "attn_q.bias"}, keys={"attention.layer_norm_epsilon": "norm_epsilon"}),
    "stablelm": GGUFFamily(architecture="StableLmForCausalLM", model_type="stablelm", flags={
        "use_qkv_bias": "attn_q.bias", "qk_layernorm": "attn_q_norm.weight"}),
    "command-r": GGUFFamily(architecture="CohereForCausalLM", model_type="cohere", flags=_QKV_BIAS | {
        "use_qk_norm": "attn_q_norm.weight"}),
    "cohere2": GGUFFamily(architecture="Cohere2ForCausalLM", model_type="cohere2", flags=_QKV_BIAS),
    "deepseek2": replace(_DEEPSEEK2, if_above={"expert_gating_func": (1, _DEEPSEEK3),
                                               "expert_group_count": (1, _DEEPSEEK2_GROUPS)}),
    "granite": _GRANITE,
    "granitemoe": replace(_GRANITE_MOE, if_above={"expert_shared_feed_forward_length": (0, _GRANITE_MOE_SHARED)}),
    "chatglm": GGUFFamily(architecture="GlmForCausalLM", model_type="glm", flags={
        "attention_bias": ("attn_qkv.bias", "attn_q.bias")}),
    "glm4": GGUFFamily(architecture="Glm4ForCausalLM", model_type="glm4", flags=_QKV_BIAS),
    "glm4moe": GGUFFamily(
        architecture="Glm4MoeForCausalLM", model_type="glm4_moe", flags=_QKV_BIAS | {
            "use_qk_norm": "attn_q_norm.weight"},
        keys=_SIGMOID_EXPERTS | {"nextn_predict_layers": "num_nextn_predict_layers"}),
    "dots1": GGUFFamily(architecture="Dots1ForCausalLM", model_type="dots1", flags=_QKV_BIAS, keys=_SIGMOID_EXPERTS,
                        constants={"sliding_window": None}),
    "ernie4_5": GGUFFamily(architecture="Ernie4_5ForCausalLM", model_type="ernie4_5", flags={
        "use_bias": "attn_q.bias"}),
    "ernie4_5-moe": GGUFFamily(
        architecture="Ernie4_5_MoeForCausalLM", model_type="ernie4_5_moe", flags={"use_bias": "attn_q.bias"}, keys={
            "expert_count": "moe_num_experts", "expert_used_count": "moe_k",
            "interleave_moe_layer_step": "moe_layer_interval", "leading_dense_block_count": "moe_layer_start_index",
            "expert_feed_forward_length": "moe_intermediate_size", "expert_shared_count": "moe_num_shared_experts",
            "expert_shared_feed_forward_length": None}),
    "exaone": GGUFFamily(architecture="ExaoneForCausalLM", model_type="exaone", keys={
        "attention.layer_norm_epsilon": "layer_norm_epsilon"}),
    "exaone4": GGUFFamily(architecture="Exaone4ForCausalLM", model_type="exaone4", constants={"sliding_window": None}),
    "hunyuan-dense": GGUFFamily(architecture="HunYuanDenseV1ForCausalLM", model_type="hunyuan_v1_dense",
                                flags=_QKV_BIAS),
    "hunyuan-moe": GGUFFamily(
        architecture="HunYuanMoEV1ForCausalLM", model_type="hunyuan_v1_moe", flags=_QKV_BIAS, keys={
            "expert_used_count": "moe_topk", "expert_feed_forward_length": "moe_intermediate_size",
            "expert_shared_count": "num_shared_expert", "expert_shared_feed_forward_length": None}),
    "minimax-m2": GGUFFamily(architecture="MiniMaxM2ForCausalLM", model_type="minimax_m2", keys=_LOCAL_EXPERTS | {
        "expert_gating_func": "scoring_func", "expert_feed_forward_length": None}),
    "phimoe": GGUFFamily(architecture="PhimoeForCausalLM", model_type="phimoe", keys=_LOCAL_EXPERTS, flags=_QKV_BIAS | {
        "lm_head_bias": "output.bias"}),
    "mpt": GGUFFamily(architecture="MptForCausalLM", model_type="mpt", has_rope=False, head_dim=None,
                      keys=_NO_KV | _EPSILON | {
                          "feed_forward_length": None, "attention.clamp_kqv": "attn_config.clip_qkv",
                          "attention.max_alibi_bias": "attn_config.alibi_bias_max"}),
    "nemotron": GGUFFamily(architecture="NemotronForCausalLM", model_type="nemotron", flags=_BIASES,
                           keys={"attention.layer_norm_epsilon": "norm_eps"}),
    "starcoder": GGUFFamily(architecture="GPTBigCodeForCausalLM", model_type="gpt_bigcode", has_rope=False,
                            keys=_EPSILON | {"feed_forward_length": "n_inner"}),
    "lfm2": _LFM2,
    "lfm2moe": replace(
        _LFM2, architecture="Lfm2MoeForCausalLM", model_type="lfm2_moe", constants={},
        keys=dict(_LFM2.keys) | {
            "expert_feed_forward_length": "moe_intermediate_size", "leading_dense_block_count": "num_dense_layers",
            "expert_gating_func": None}),
    "jamba": GGUFFamily(
        architecture="JambaForCausalLM", model_type="jamba", has_rope=False, has_periods=True, flags={
            "mamba_proj_bias": "ssm_in.bias", "mamba_conv_bias": "ssm_conv1d.bias"},
        constants={"num_experts": 1}, layer_kinds=("attention", "mamba"), keys={
            "ssm.conv_kernel": "mamba_d_conv", "ssm.inner_size": "mamba_expand", "ssm.state_size": "mamba_d_state",
            "ssm.time_step_rank": "mamba_dt_rank"}),
    "olmoe": GGUFFamily(architecture="OlmoeForCausalLM", model_type="olmoe", flags=_QKV_BIAS),
    "olmo": GGUFFamily(architecture="OlmoForCausalLM", model_type="olmo", flags=_QKV_BIAS, keys={
        "attention.layer_norm_epsilon": None}),
    "olmo2": GGUFFamily(architecture="Olmo2ForCausalLM", model_type="olmo2", flags=_QKV_BIAS, if_above={
        "attention.sliding_window": (0, _OLMO3)}),
    "mamba": replace(_MAMBA, if_true={"ssm.dt_b_c_rms": replace(
        _MAMBA, architecture="FalconMambaForCausalLM", model_type="falcon_mamba")}),
    "mamba2": replace(_MAMBA, architecture="Mamba2ForCausalLM", model_type="mamba2",
                      keys=dict(_MAMBA.keys) | _MAMBA2_KEYS),
    "smollm3": GGUFFamily(architecture="SmolLM3ForCausalLM", model_type="smollm3", flags=_BIASES),
    "arcee": GGUFFamily(architecture="ArceeForCausalLM", model_type="arcee", flags=_BIASES),
    "seed_oss": GGUFFamily(architecture="SeedOssForCausalLM", model_type="seed_oss", flags=_BIASES | {
        "attention_out_bias": "attn_output.bias"}),
    # RoBERTa and XLM-RoBERTa are written as BERT: the rows before the first position are left out.
    "bert": _BERT,
    "nomic-bert": replace(_BERT, architecture="NomicBertModel", model_type="nomic_bert", has_rope=True),
    "jina-bert-v2": replace(_BERT, architecture="JinaBertModel", constants={
        "position_embedding_type": "alibi", "feed_forward_type": "geglu"}),
    "modern-bert": replace(_BERT, architecture="ModernBertModel", model_type="modernbert", has_rope=True,
                           local_rope_base=10000.0, keys=dict(_BERT.keys) | {
                               "attention.sliding_window": "local_attention", "rope.freq_base_swa": None,
                               "attention.sliding_window_pattern": "global_attn_every_n_layers"}),
    "gemma-embedding": GGUFFamily(
        architecture="Gemma3TextModel", model_type="gemma3_text", flags=_QKV_BIAS, is_encoder=True, keys={
            "rope.freq_base_swa": None, "attention.causal": None}, local_rope_base=10000.0, wide_scale_layers=0,
        constants={"use_bidirectional_attention": True}),
}


def file_architectures() -> frozenset[str]:
    """The model classes that GGUF files are led to."""
    found, left = set(), list(GGUF_FAMILIES.values())
    while left:
        family = left.pop()
        found.add(family.architecture)
        left += [other for _, other in family.if_above.values()] + list(family.if_true.values())
    return frozenset(found)
