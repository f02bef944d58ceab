"""Recipes: config classes of weft's own, written as data, for model types that Transformers has no class for.

A recipe lists renamed keys, defaults, and values computed from others. `stages.py` applies a recipe to a dictionary;
`hf/classes.py` makes a class from it when a config object is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from weft.architectures.reader import ConfigReader
from weft.resolve.hf import draft_configs

Arrange = Callable[[ConfigReader], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRecipe:
    """The work of a config class as data.

    renames: {key in the file: usual key}, unless the usual key has a value. defaults: values for missing keys.
    arrange: returns the values computed from others. wraps: {key that names another model: key for that model's
    config}; the other config is read when the key is set on a config object.
    """

    name: str
    renames: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    arrange: Arrange | None = None
    wraps: Mapping[str, str] = field(default_factory=dict)


def _refined_web(c: ConfigReader) -> dict[str, Any]:
    """The first Falcons: unless the config says otherwise, only 40b (hidden_size 8192) has the new decoder layout."""
    found: dict[str, Any] = {} if c.has("num_kv_heads") else {"num_kv_heads": 1}
    if not c.has("new_decoder_architecture"):
        found["new_decoder_architecture"] = c.value("hidden_size") == 8192
    return found


_GPT2_RENAMES = {"n_embd": "hidden_size", "n_positions": "max_position_embeddings", "n_head": "num_attention_heads",
                 "n_layer": "num_hidden_layers"}

# Classes that Transformers does not have, by name.
RECIPES = {recipe.name: recipe for recipe in (
    ConfigRecipe(
        name="ChatGLMConfig",
        renames={"num_layers": "num_hidden_layers", "padded_vocab_size": "vocab_size",
                 "seq_length": "max_position_embeddings", "multi_query_group_num": "num_key_value_heads"},
        defaults={"num_hidden_layers": 28, "vocab_size": 65024, "hidden_size": 4096, "ffn_hidden_size": 13696,
                  "kv_channels": 128, "num_attention_heads": 32, "max_position_embeddings": 2048,
                  "layernorm_epsilon": 1e-5, "rmsnorm": True, "apply_residual_connection_post_layernorm": False,
                  "post_layer_norm": True, "add_bias_linear": False, "add_qkv_bias": False,
                  "multi_query_attention": False, "num_key_value_heads": 1, "original_rope": True}),
    ConfigRecipe(
        name="DeepseekVLV2Config",
        defaults={"tile_tag": "2D", "global_view_pos": "head", "candidate_resolutions": [[384, 384]]}),
    ConfigRecipe(name="EAGLEConfig", arrange=draft_configs.eagle),
    ConfigRecipe(
        name="JAISConfig",
        renames=_GPT2_RENAMES,
        defaults={"vocab_size": 50257, "max_position_embeddings": 1024, "hidden_size": 768, "num_hidden_layers": 12,
                  "num_attention_heads": 12, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
                  "position_embedding_type": "learned", "mup_width_scale": 1.0, "mup_embeddings_scale": 1.0,
                  "mup_output_alpha": 1.0, "mup_scale_qk_dot_prod": False, "scale_attn_weights": True}),
    ConfigRecipe(
        name="KimiVLConfig",
        defaults={"ignore_index": -100, "media_placeholder_token_id": 163605, "pad_token_id": 0}),
    ConfigRecipe(
        name="MedusaConfig",
        defaults={"hidden_size": 4096, "vocab_size": 32001, "num_heads": 5, "num_hidden_layers": 1, "max_paths": 64,
                  "topk": 10},
        arrange=draft_configs.medusa),
    ConfigRecipe(
        name="MLPSpeculatorConfig",
        defaults={"vocab_size": 32000, "emb_dim": 4096, "inner_dim": 0, "n_predict": 3, "n_candidates": 5,
                  "tie_weights": False, "scale_input": False},
        arrange=draft_configs.mlp_speculator),
    ConfigRecipe(
        name="RWConfig",
        renames={"n_embed": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
                 "n_head_kv": "num_kv_heads"},
        defaults={"vocab_size": 250880, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8,
                  "layer_norm_epsilon": 1e-5, "multi_query": True, "alibi": False, "bias": False,
                  "parallel_attn": False},
        arrange=_refined_web),
    ConfigRecipe(name="SpeculatorsConfig", arrange=draft_configs.speculators),
    ConfigRecipe(
        name="UltravoxConfig",
        defaults={"ignore_index": -100, "hidden_size": 4096, "stack_factor": 8, "norm_init": 0.4,
                  "projector_act": "swiglu", "projector_ln_mid": False},
        wraps={"text_model_id": "text_config", "audio_model_id": "audio_config"}),
)}
