"""Config classes by model_type: the table of those that weft knows by name, and the recipes of those it has itself.

A recipe says as data what a class does to a config: keys under other names, defaults, and what follows from other
values. `stages.py` applies it to a dictionary; a class is made of it (or taken from Transformers) at first access only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from weft.resolve import arrangements

Arrange = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRecipe:
    """What a config class does.

    renames: {key in the file: key it becomes}, never over a value that is there; defaults: of keys that are missing;
    arrange: the values that follow from others; wraps: {key that names a model: key of that model's config}, read
    when the class is made an object and when the key is set on one.
    """

    name: str
    renames: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    arrange: Arrange | None = None
    wraps: Mapping[str, str] = field(default_factory=dict)


_GPT2_RENAMES = {"n_embd": "hidden_size", "n_positions": "max_position_embeddings", "n_head": "num_attention_heads",
                 "n_layer": "num_hidden_layers"}

# The classes that Transformers does not have.
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
    ConfigRecipe(name="EAGLEConfig", arrange=arrangements.eagle),
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
        arrange=arrangements.medusa),
    ConfigRecipe(
        name="MLPSpeculatorConfig",
        defaults={"vocab_size": 32000, "emb_dim": 4096, "inner_dim": 0, "n_predict": 3, "n_candidates": 5,
                  "tie_weights": False, "scale_input": False},
        arrange=arrangements.mlp_speculator),
    ConfigRecipe(
        name="RWConfig",
        renames={"n_embed": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
                 "n_head_kv": "num_kv_heads"},
        defaults={"vocab_size": 250880, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8,
                  "layer_norm_epsilon": 1e-5, "multi_query": True, "alibi": False, "bias": False,
                  "parallel_attn": False},
        arrange=arrangements.refined_web),
    ConfigRecipe(name="SpeculatorsConfig", arrange=arrangements.speculators),
    ConfigRecipe(
        name="UltravoxConfig",
        defaults={"ignore_index": -100, "hidden_size": 4096, "stack_factor": 8, "norm_init": 0.4,
                  "projector_act": "swiglu", "projector_ln_mid": False},
        wraps={"text_model_id": "text_config", "audio_model_id": "audio_config"}),
)}


class LazyConfigDict(dict[str, Any]):
    """model_type -> config class. Stores names; the class is imported, or made, when it is asked for."""

    def __getitem__(self, model_type: str) -> type:
        from weft.resolve.hf_classes import class_named

        value = super().__getitem__(model_type)
        if isinstance(value, str):
            value = class_named(value, model_type)
            super().__setitem__(model_type, value)
        return value

    def get(self, model_type: str, default: Any = None) -> Any:
        """The class, or `default` for an unknown model_type."""
        try:
            return self[model_type]
        except KeyError:
            return default

    def values(self) -> Iterator[type]:
        """All classes; imports them."""
        return (self[model_type] for model_type in self)

    def items(self) -> Iterator[tuple[str, type]]:
        """(model_type, class) of all; imports them."""
        return ((model_type, self[model_type]) for model_type in self)

    def name_of(self, model_type: str) -> str | None:
        """The class's name, without importing it."""
        value = super().get(model_type)
        return value if isinstance(value, str | None) else value.__name__


CONFIG_REGISTRY = LazyConfigDict(
    afmoe="AfmoeConfig", chatglm="ChatGLMConfig", deepseek_vl_v2="DeepseekVLV2Config", deepseek_v32="DeepseekV3Config",
    eagle="EAGLEConfig", flex_olmo="FlexOlmoConfig", hunyuan_vl="HunYuanVLConfig", jais="JAISConfig",
    kimi_linear="KimiLinearConfig", kimi_vl="KimiVLConfig", medusa="MedusaConfig",
    mlp_speculator="MLPSpeculatorConfig", nemotron="NemotronConfig", olmo3="Olmo3Config", RefinedWeb="RWConfig",
    RefinedWebModel="RWConfig", speculators="SpeculatorsConfig", ultravox="UltravoxConfig",
)


def recipe_of(model_type: str | None) -> ConfigRecipe | None:
    """The recipe of weft's own class for a model_type; None where Transformers has the class or nobody has one."""
    return RECIPES.get(CONFIG_REGISTRY.name_of(model_type) or "") if model_type is not None else None
