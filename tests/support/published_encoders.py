"""The keys of published config.json files of encoders, and the parameter counts of their bodies.

Counts are those of the safetensors headers on the hub, without poolers and heads.
"""

from __future__ import annotations

_BERT = {
    "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
    "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
    "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0, "vocab_size": 30522}

PUBLISHED_ENCODERS: dict[str, tuple[int, dict]] = {
    "google-bert/bert-base-uncased": (108_891_648, _BERT | {
        "architectures": ["BertForMaskedLM"], "model_type": "bert", "position_embedding_type": "absolute",
        "type_vocab_size": 2, "use_cache": True}),
    "FacebookAI/xlm-roberta-base": (277_453_056, _BERT | {
        "architectures": ["XLMRobertaForMaskedLM"], "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 514, "model_type": "xlm-roberta", "output_past": True, "pad_token_id": 1,
        "position_embedding_type": "absolute", "type_vocab_size": 1, "vocab_size": 250002}),
    "sentence-transformers/all-mpnet-base-v2": (108_895_872, _BERT | {
        "architectures": ["MPNetForMaskedLM"], "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 514, "model_type": "mpnet", "pad_token_id": 1,
        "relative_attention_num_buckets": 32, "vocab_size": 30527}),
    "albert/albert-base-v2": (11_092_992, _BERT | {
        "architectures": ["AlbertForMaskedLM"], "attention_probs_dropout_prob": 0, "classifier_dropout_prob": 0.1,
        "down_scale_factor": 1, "embedding_size": 128, "gap_size": 0, "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0, "inner_group_num": 1, "model_type": "albert", "net_structure_type": 0,
        "num_hidden_groups": 1, "num_memory_blocks": 0, "type_vocab_size": 2, "vocab_size": 30000}),
    "distilbert/distilbert-base-uncased": (66_362_880, {
        "activation": "gelu", "architectures": ["DistilBertForMaskedLM"], "attention_dropout": 0.1, "dim": 768,
        "dropout": 0.1, "hidden_dim": 3072, "initializer_range": 0.02, "max_position_embeddings": 512,
        "model_type": "distilbert", "n_heads": 12, "n_layers": 6, "pad_token_id": 0, "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False, "tie_weights_": True, "vocab_size": 30522}),
    "microsoft/deberta-v3-base": (183_831_552, _BERT | {
        "architectures": ["DebertaV2Model"], "layer_norm_eps": 1e-07, "max_relative_positions": -1,
        "model_type": "deberta-v2", "norm_rel_ebd": "layer_norm", "pos_att_type": "p2c|c2p", "position_buckets": 256,
        "position_biased_input": False, "relative_attention": True, "share_att_key": True, "type_vocab_size": 0,
        "vocab_size": 128100}),
    "answerdotai/ModernBERT-base": (149_014_272, {
        "architectures": ["ModernBertForMaskedLM"], "attention_bias": False, "attention_dropout": 0.0,
        "classifier_activation": "gelu", "classifier_bias": False, "classifier_dropout": 0.0,
        "classifier_pooling": "mean", "cls_token_id": 50281, "decoder_bias": True, "deterministic_flash_attn": False,
        "embedding_dropout": 0.0, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
        "hidden_activation": "gelu", "hidden_size": 768, "initializer_cutoff_factor": 2.0, "intermediate_size": 1152,
        "layer_norm_eps": 1e-05, "local_attention": 128, "local_rope_theta": 10000.0, "max_position_embeddings": 8192,
        "mlp_bias": False, "mlp_dropout": 0.0, "model_type": "modernbert", "norm_bias": False, "norm_eps": 1e-05,
        "num_attention_heads": 12, "num_hidden_layers": 22, "pad_token_id": 50283, "sep_token_id": 50282,
        "position_embedding_type": "absolute", "tie_word_embeddings": True, "vocab_size": 50368}),
    "nomic-ai/nomic-embed-text-v1.5": (136_731_648, {
        "activation_function": "swiglu", "architectures": ["NomicBertModel"], "attn_pdrop": 0.0, "causal": False,
        "dense_seq_output": True, "embd_pdrop": 0.0, "fused_bias_fc": True, "fused_dropout_add_ln": True,
        "layer_norm_epsilon": 1e-12, "max_trained_positions": 2048, "mlp_fc1_bias": False, "mlp_fc2_bias": False,
        "model_type": "nomic_bert", "n_embd": 768, "n_head": 12, "n_inner": 3072, "n_layer": 12, "n_positions": 8192,
        "pad_vocab_size_multiple": 64, "parallel_block": False, "parallel_block_tied_norm": False, "prenorm": False,
        "qkv_proj_bias": False, "reorder_and_upcast_attn": False, "resid_pdrop": 0.0, "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None, "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True,
        "summary_type": "cls_index", "type_vocab_size": 2, "use_flash_attn": True, "use_rms_norm": False,
        "use_xentropy": True, "vocab_size": 30528}),
    "google-t5/t5-base, its encoder": (109_628_544, {
        "architectures": ["T5EncoderModel"], "d_ff": 3072, "d_kv": 64, "d_model": 768, "decoder_start_token_id": 0,
        "dropout_rate": 0.1, "eos_token_id": 1, "initializer_factor": 1.0, "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-06, "model_type": "t5", "n_positions": 512, "num_heads": 12, "num_layers": 12,
        "output_past": True, "pad_token_id": 0, "relative_attention_num_buckets": 32, "vocab_size": 32128}),
    "openai/clip-vit-large-patch14, its text encoder": (123_060_480, {
        "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "dropout": 0.0, "hidden_act": "quick_gelu",
        "hidden_size": 768, "initializer_factor": 1.0, "intermediate_size": 3072, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 12,
        "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "vocab_size": 49408}),
}
