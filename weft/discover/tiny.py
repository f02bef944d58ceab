"""Tiny random models of a Transformers class: sizes shrunk by their keys' names, and numbers none of which is special.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Keys of configs -> sizes in three tiny configs; in the first, larger values are shrunk and smaller are kept.
SIZES: dict[str, tuple[int, int, int]] = {
    **dict.fromkeys(("hidden_size", "n_embd", "n_embed", "d_model", "dim", "emb_dim", "word_embed_proj_dim"),
                    (64, 144, 192)),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "hidden_dim", "decoder_ffn_dim",
                     "encoder_ffn_dim", "dff", "dim_ff", "d_ff"), (128, 112, 144)),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads",
                     "encoder_attention_heads"), (4, 6, 8)),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "n_kv_heads", "multi_query_group_num"), (2, 3, 4)),
    **dict.fromkeys(("head_dim", "d_kv", "dim_head", "kv_channels", "attention_head_size"), (32, 24, 40)),
    "vocab_size": (512, 448, 480),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"), (1024, 768, 512)),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), (8, 12, 16)),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "num_experts_per_token"), (2, 4, 3)),
    **dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size"), (48, 40, 56)),
    **dict.fromkeys(("shared_expert_intermediate_size", "shared_intermediate_size",
                     "moe_shared_expert_intermediate_size"), (80, 72, 104)),
    **dict.fromkeys(("sliding_window", "window_size", "attention_window_size", "sliding_window_size"), (12, 9, 16)),
    "kv_lora_rank": (32, 40, 28), "q_lora_rank": (24, 28, 20), "qk_rope_head_dim": (16, 8, 12),
    "qk_nope_head_dim": (16, 28, 36), "v_head_dim": (24, 20, 16), "rotary_dim": (8, 12, 16),
}
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers")
_NUM_LAYERS, _MOST_LAYERS = 3, 6
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")


def shrunk(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values with sizes of a tiny model; lists with an entry for each layer are cut."""
    tiny = dict(values)
    for key, (size, *_) in SIZES.items():
        if type(tiny.get(key)) is int and tiny[key] > size:
            tiny[key] = size
    _keep_relations(tiny, values)
    count = next((tiny[key] for key in LAYERS if type(tiny.get(key)) is int), None)
    if count is None or count <= _MOST_LAYERS:
        return tiny
    lists = [value for value in tiny.values() if isinstance(value, list) and len(value) == count]
    layers = max((_covering(value) for value in lists), default=_NUM_LAYERS)
    for key, value in tiny.items():
        if key in LAYERS:
            tiny[key] = layers
        elif isinstance(value, list) and len(value) == count:
            tiny[key] = value[:layers]
    return tiny


def resized(values: Mapping[str, Any], column: int, only: str | None = None) -> dict[str, Any]:
    """A tiny config's values with sizes of another column of SIZES, where they have one. only: of this key alone."""
    other = dict(values)
    for key in SIZES if only is None else (only,):
        if type(values.get(key)) is int:
            other[key] = SIZES[key][column]
    _keep_relations(other, values)
    return other


def _keep_relations(values: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Sizes that were related before are so again: as many key heads as heads, heads that fill the width."""
    heads = next((key for key in _HEADS if type(before.get(key)) is int), None)
    if heads is None:
        return
    width = next((key for key in ("hidden_size", "d_model", "dim", "n_embd") if type(before.get(key)) is int), None)
    for key in KV_HEADS:
        if type(before.get(key)) is int and before[key] in (1, before[heads]):
            values[key] = 1 if before[key] == 1 else values[heads]
    for key in ("head_dim", "kv_channels", "d_kv", "attention_head_size"):
        if width and type(before.get(key)) is int and before[key] * before[heads] == before[width]:
            values[key] = values[width] // values[heads]
    rotated, plain = "qk_rope_head_dim", "qk_nope_head_dim"
    if type(before.get(rotated)) is int and before.get("head_dim") == before[rotated]:
        values["head_dim"] = values[rotated]
    if type(before.get(plain)) is int and before.get("qk_head_dim") == before[plain] + before.get(rotated, 0):
        values["qk_head_dim"] = values[plain] + values[rotated]
    if width and before.get("word_embed_proj_dim") == before[width]:
        values["word_embed_proj_dim"] = values[width]


def _covering(entries: list[Any]) -> int:
    """How many of the first entries have all kinds of them."""
    last = max((entries.index(entry) for entry in entries), default=0)
    return min(_MOST_LAYERS, max(_NUM_LAYERS, last + 1))


def class_named(architecture: str) -> Any:
    """Transformers' model class; None: it has none of this name."""
    import transformers

    found = getattr(transformers, architecture, None)
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def class_defaults(cls: Any) -> dict[str, Any]:
    """The values of a config that states none; {} for a class that has to be told some."""
    try:
        return cls.config_class().to_dict()
    except Exception:
        return {}


def config_of(cls: Any, values: Mapping[str, Any]) -> Any:
    """The config object of a model class: of its model_type's class, if the values state one."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = str(values.get("model_type"))
    maker = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else cls.config_class      # noqa: SIM401
    config = maker.from_dict(dict(values))
    wanted = cls.config_class
    return config if wanted is None or isinstance(config, wanted) else config.get_text_config(decoder=True)


def make_model(cls: Any, config: Any, seed: str) -> nn.Module:
    """A float32 model of a class with random numbers. Errors are those of the class."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = cls._from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    fill(model, seed)
    return model


@torch.no_grad()
def fill(model: nn.Module, seed: str) -> None:
    """Random numbers for all parameters and stored buffers, such that states keep their size from layer to layer."""
    tables = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    transposed = {f"{name}.weight" for name, module in model.named_modules() if type(module).__name__ == "Conv1D"}
    stored = model.state_dict().keys()
    buffers = [(name, x) for name, x in model.named_buffers() if name in stored and x.is_floating_point()]
    for name, x in [*model.named_parameters(), *buffers]:
        noise = _noise(f"{seed}/{name}", x)
        if name in tables:
            x.copy_(noise * 0.3)
        elif x.dim() >= 2:
            fan_in = x.shape[0 if name in transposed else -1]
            x.copy_(noise * min(0.3, max(0.1, fan_in ** -0.5)) * 1.4)
        else:
            x.add_(noise * 0.2)


def _noise(name: str, like: Tensor) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
