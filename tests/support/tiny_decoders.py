"""Tiny models of more decoder families, as data like `tiny_variants.py`: each has the switches that are its own."""

from __future__ import annotations

from typing import Any

from tiny_variants import ALTERNATING, GPT2_SIZES, Tiny, rope

MOE = {"num_experts": 6, "num_local_experts": 6, "num_experts_per_tok": 2}
# Eight experts in four groups, after a dense layer.
FINE = {"num_hidden_layers": 3, "n_routed_experts": 8, "num_experts": 8, "num_experts_per_tok": 3,
        "moe_intermediate_size": 40, "n_shared_experts": 2, "num_shared_experts": 2, "first_k_dense_replace": 1,
        "n_group": 4, "topk_group": 2, "routed_scaling_factor": 1.5}
WINDOWS = {"num_hidden_layers": 3, "sliding_window": 12, "layer_types": ALTERNATING}
GRANITE = {"embedding_multiplier": 6.0, "logits_scaling": 0.5, "residual_multiplier": 0.7, "attention_multiplier": 0.2}
LAYER_ROPES = {"full_attention": {"rope_type": "default", "rope_theta": 50000.0},
               "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}
LLAMA4 = {"num_hidden_layers": 4, "head_dim": 16, "num_local_experts": 6, "num_experts_per_tok": 1,
          "intermediate_size_mlp": 80, "interleave_moe_layer_step": 2, "attention_chunk_size": 12, "floor_scale": 8}
BART = {"d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 96, "is_decoder": True,
        "is_encoder_decoder": False, "encoder_layers": 1}
LATENT = {"num_key_value_heads": 4, "kv_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 20}


def tiny(cls: str, *parts: dict[str, Any], **config: Any) -> Tiny:
    """A tiny model of a class whose name ends with ForCausalLM."""
    merged: dict[str, Any] = {}
    for part in (*parts, config):
        merged |= part
    return Tiny(f"{cls}ForCausalLM", merged)


DECODERS: dict[str, Tiny] = {
    "bloom-adds-to-normed": tiny("Bloom", n_layer=2, n_head=4, apply_residual_connection_post_layernorm=True),
    "gemma3-with-the-soft-cap-that-it-ignores": tiny("Gemma3", WINDOWS, head_dim=16, attn_logit_softcapping=4.0),
    "exaone4": tiny("Exaone4", WINDOWS),
    "exaone4-no-window": tiny("Exaone4", sliding_window=None, sliding_window_pattern=None,
                              layer_types=["full_attention"] * 2),
    "exaone-moe": tiny("ExaoneMoe", WINDOWS, FINE, mlp_layer_types=["dense", "sparse", "sparse"]),
    "helium": tiny("Helium", head_dim=16),
    "nemotron": tiny("Nemotron", head_dim=16),
    "nemotron-biases": tiny("Nemotron", attention_bias=True, mlp_bias=True, hidden_act="gelu", norm_eps=0.01),
    "persimmon": tiny("Persimmon"),
    "persimmon-bare": tiny("Persimmon", qk_layernorm=False, hidden_act="gelu"),
    "codegen": Tiny("CodeGenForCausalLM", {"rotary_dim": 8}, sizes=GPT2_SIZES),
    "gpt-neo": tiny("GPTNeo", num_hidden_layers=3, num_layers=3, num_heads=4, window_size=12,
                    attention_types=[[["global", "local"], 1], [["local"], 1]]),
    "gpt-bigcode": Tiny("GPTBigCodeForCausalLM", {"n_inner": 80}, sizes=GPT2_SIZES),
    "gpt-bigcode-multi-head": Tiny("GPTBigCodeForCausalLM", {"multi_query": False, "scale_attn_weights": False},
                                   sizes=GPT2_SIZES),
    "xglm": tiny("XGLM", num_layers=2, d_model=64, attention_heads=4, ffn_dim=96),
    "xglm-unscaled": tiny("XGLM", num_layers=2, d_model=64, attention_heads=4, ffn_dim=96, scale_embedding=False,
                          activation_function="relu"),
    "biogpt": tiny("BioGpt"),
    "olmoe": tiny("Olmoe", MOE, clip_qkv=1.0),
    "olmoe-renormalized": tiny("Olmoe", MOE, norm_topk_prob=True, attention_bias=True),
    "flex-olmo": tiny("FlexOlmo", MOE),
    "cwm": tiny("Cwm", WINDOWS, head_dim=24),
    "ministral": tiny("Ministral", WINDOWS, head_dim=24),
    "ministral3": tiny("Ministral3", rope("yarn", factor=4.0, original_max_position_embeddings=24, mscale=1.0,
                                          mscale_all_dim=1.0, llama_4_scaling_beta=0.3), head_dim=24),
    "ernie4-5": tiny("Ernie4_5", head_dim=24, use_bias=True),
    "ernie4-5-moe": tiny("Ernie4_5_Moe", num_hidden_layers=3, moe_num_experts=6, moe_k=2, moe_intermediate_size=40,
                         moe_num_shared_experts=1, moe_layer_start_index=1, moe_layer_end_index=1),
    "hunyuan-dense": tiny("HunYuanDenseV1", rope("dynamic", alpha=50.0, factor=1.0), head_dim=16),
    "hunyuan-moe": tiny("HunYuanMoEV1", num_experts=6, moe_topk=2, head_dim=16, attention_bias=True),
    "hunyuan-moe-counts-by-layer": tiny("HunYuanMoEV1", num_experts=6, moe_topk=[2, 3], head_dim=16,
                                        num_shared_expert=[1, 1], use_mixed_mlp_moe=True),
    "dots1": tiny("Dots1", WINDOWS, FINE),
    "glm4-moe": tiny("Glm4Moe", FINE, use_qk_norm=True, attention_bias=True, num_mtp_layers=0),
    "bitnet": tiny("BitNet"),
    "vaultgemma": tiny("VaultGemma", WINDOWS, head_dim=24, query_pre_attn_scalar=20, attn_logit_softcapping=4.0,
                       final_logit_softcapping=8.0),
    "gpt-oss": tiny("GptOss", WINDOWS, MOE, head_dim=16, swiglu_limit=1.0),
    "phimoe": tiny("Phimoe", MOE, attention_bias=True, lm_head_bias=True, sliding_window=12, router_jitter_noise=0.2),
    "apertus": tiny("Apertus"),
    "apertus-gelu": tiny("Apertus", hidden_act="gelu", attention_bias=True),
    "afmoe": tiny("Afmoe", WINDOWS, MOE, head_dim=24, num_dense_layers=1, moe_intermediate_size=40,
                  num_shared_experts=2, route_scale=1.7, mup_enabled=True),
    "minimax-m2": tiny("MiniMaxM2", MOE, head_dim=16, rotary_dim=8),
    "granite-swa": tiny("GraniteSWA", WINDOWS, GRANITE, layer_rope_theta=[500.0, 0, 5000.0]),
    "granite-moe": tiny("GraniteMoe", MOE, GRANITE),
    "granite-moe-shared": tiny("GraniteMoeShared", MOE, GRANITE, shared_intermediate_size=48),
    "hyperclovax": tiny("HyperCLOVAX", GRANITE, head_dim=16),
    "hyperclovax-plain": tiny("HyperCLOVAX", use_post_norm=False, attention_bias=True),
    "emu3": tiny("Emu3"),
    "jais2": tiny("Jais2"),
    "nanochat": tiny("NanoChat", final_logit_softcapping=5.0),
    "solar-open": tiny("SolarOpen", {key: FINE[key] for key in FINE if key != "first_k_dense_replace"}, head_dim=16),
    "mellum": tiny("Mellum", WINDOWS, MOE, moe_intermediate_size=40, head_dim=16,
                   mlp_layer_types=["dense", "sparse", "sparse"], rope_parameters=LAYER_ROPES),
    "laguna": tiny("Laguna", WINDOWS, MOE, moe_intermediate_size=40, head_dim=16,
                   num_attention_heads_per_layer=[4, 2, 6], shared_expert_intermediate_size=48,
                   moe_router_logit_softcapping=2.0, moe_routed_scaling_factor=1.5, rope_parameters=LAYER_ROPES),
    "laguna-gate-of-values": tiny("Laguna", WINDOWS, MOE, moe_intermediate_size=40, head_dim=16, gating="per-element",
                                  shared_expert_intermediate_size=48, rope_parameters=LAYER_ROPES),
    "flint": tiny("Flint", WINDOWS, MOE, head_dim=16, moe_intermediate_size=40, shared_expert_intermediate_size=48,
                  mlp_only_layers=[0]),
    "llama4": tiny("Llama4", LLAMA4),
    "llama4-two-experts-no-norm": tiny("Llama4", LLAMA4, num_experts_per_tok=2, use_qk_norm=False,
                                       attn_temperature_tuning=False, attention_bias=True),
    "axk1": tiny("AXK1", FINE, LATENT, q_lora_rank=28, mlp_layer_types=["dense", "sparse", "sparse"]),
    "youtu": tiny("Youtu", LATENT, q_lora_rank=28),
    "glm4-moe-lite": tiny("Glm4MoeLite", FINE, LATENT, q_lora_rank=28, mlp_layer_types=["dense", "sparse", "sparse"]),
    "minicpm3": tiny("MiniCPM3", LATENT, q_lora_rank=28, dim_model_base=32, scale_emb=3, scale_depth=1.1),
    "kolibri": tiny("Kolibri1", WINDOWS, MOE, head_dim=16, moe_intermediate_size=40,
                    shared_expert_intermediate_size=48),
    "hy-v3": tiny("HYV3", MOE, head_dim=16, moe_intermediate_size=40, num_shared_experts=2, num_hidden_layers=3,
                  mlp_layer_types=["dense", "sparse", "sparse"], router_scaling_factor=1.7),
    "cohere2-moe": tiny("Cohere2Moe", WINDOWS, MOE, head_dim=16, num_shared_experts=1, logit_scale=0.25,
                        rms_norm_eps=None, mlp_layer_types=["dense", "sparse", "sparse"]),
    "cohere2-moe-sum-of-sigmoids": tiny(
        "Cohere2Moe", WINDOWS, MOE, head_dim=16, num_shared_experts=2, expert_selection_fn="sigmoid", logit_scale=0.25,
        shared_expert_combination_strategy="sum", mlp_layer_types=["sparse"] * 3, rms_norm_eps=0.01),
    "cohere-compass": tiny("CohereCompass", WINDOWS, head_dim=16, logit_scale=0.5, rope_parameters={
        kind: {**values, "mrope_section": [4, 2, 2]} for kind, values in LAYER_ROPES.items()}),
    "mpt": tiny("Mpt", d_model=64, n_heads=4, n_layers=2, attn_config={"clip_qkv": 1.0}),
    "dbrx": tiny("Dbrx", d_model=64, n_heads=4, n_layers=2,
                 attn_config={"kv_n_heads": 2, "clip_qkv": 1.0, "rope_theta": 5000.0},
                 ffn_config={"ffn_hidden_size": 48, "moe_num_experts": 6, "moe_top_k": 2}),
    "gpt-neox-japanese": tiny("GPTNeoXJapanese", intermediate_multiple_size=2),
    "openai-gpt": Tiny("OpenAIGPTLMHeadModel", sizes=GPT2_SIZES),
    "aria-text": tiny("AriaText", moe_num_experts=6, moe_topk=2, moe_num_shared_experts=1),
    "bert-decoder": Tiny("BertLMHeadModel", {"is_decoder": True}),
    "bert-generation": Tiny("BertGenerationDecoder", {"is_decoder": True}),
    "bert-decoder-untied": Tiny("BertLMHeadModel", {"is_decoder": True, "tie_word_embeddings": False}),
    "ernie-decoder": tiny("Ernie", is_decoder=True, hidden_act="relu"),
    "roberta-decoder": tiny("Roberta", is_decoder=True, max_position_embeddings=260),
    "roberta-pre-norm-decoder": tiny("RobertaPreLayerNorm", is_decoder=True, max_position_embeddings=260),
    "xlm-roberta-xl-decoder": tiny("XLMRobertaXL", is_decoder=True, max_position_embeddings=260, intermediate_size=80),
    "data2vec-text-decoder": tiny("Data2VecText", is_decoder=True, max_position_embeddings=260),
    "megatron-bert-decoder": tiny("MegatronBert", is_decoder=True),
    "electra-decoder": tiny("Electra", is_decoder=True, embedding_size=40),
    "roformer-decoder": tiny("RoFormer", is_decoder=True),
    "bart-decoder": tiny("Bart", BART),
    "mbart-decoder": tiny("MBart", BART, scale_embedding=True),
    "plbart-decoder": tiny("PLBart", BART),
    "mvp-decoder": tiny("Mvp", BART),
    "pegasus-decoder": tiny("Pegasus", BART),
    "marian-decoder": tiny("Marian", BART),
    "blenderbot-decoder": tiny("Blenderbot", BART),
    "blenderbot-small-decoder": tiny("BlenderbotSmall", BART),
    "modernbert-decoder": tiny("ModernBertDecoder", local_attention=16, norm_bias=True, attention_bias=True,
                               classifier_bias=True, num_hidden_layers=3, norm_eps=0.01, layer_types=ALTERNATING),
    "mimo-v2-flash": tiny("MiMoV2Flash", WINDOWS, FINE, head_dim=16, v_head_dim=12, attention_bias=True,
                          n_shared_experts=None, num_shared_experts=None, attention_value_scale=0.7,
                          mlp_layer_types=["dense", "sparse", "sparse"],
                          rope_parameters={kind: {**values, "partial_rotary_factor": 0.5}
                                           for kind, values in LAYER_ROPES.items()}),
    "granite-moe-swa": tiny("GraniteMoeSWA", WINDOWS, MOE, GRANITE, shared_intermediate_size=0),
}
