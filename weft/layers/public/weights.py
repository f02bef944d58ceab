"""Small functions that the `load_weights` of foreign models calls. Names and arguments are vLLM's."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weft.errors import CheckpointError, ConfigError
from weft.layers.public.layer import shard_of

# Spellings of a cache's scales by several producers, and the names that a model's attention layers have.
_SCALE_NAMES = (
    (re.compile(r"\.self_attn\.([kv])_proj\.\1_scale$"), r".self_attn.attn.\1_scale"),
    (re.compile(r"\.self_attn\.([kv])_proj\.output_scale$"), r".self_attn.attn.\1_scale"),
    (re.compile(r"\.self_attn\.qkv_proj\.([kv])_scale$"), r".self_attn.attn.\1_scale"),
    (re.compile(r"\.self_attn\.qkqkv_proj\.([kv])_scale$"), r".self_attn.attn.\1_scale"),
    (re.compile(r"\.self_attn\.([kv])_scale$"), r".self_attn.attn.\1_scale"),
    (re.compile(r"\.mixer\.([kv])_proj\.\1_scale$"), r".mixer.attn.\1_scale"),
    (re.compile(r"\.kv_scale$"), ".attn.kv_scale"),
)


def default_weight_loader(param: nn.Parameter, loaded_weight: Tensor) -> None:
    """Copy a checkpoint's tensor into a parameter: by the parameter's own loader where it has one."""
    loader = getattr(param, "weight_loader", None)
    if loader is not None and loader is not default_weight_loader:
        loader(param, loaded_weight)
        return
    if shard_of(loaded_weight) is not None:
        raise ConfigError("orig_to_new_stacked", shard_of(loaded_weight),
                          expected="a parameter of a layer with parts, such as QKVParallelLinear")
    if param.shape != loaded_weight.shape and not (param.numel() == loaded_weight.numel() == 1):
        raise CheckpointError(f"the checkpoint's tensor is {list(loaded_weight.shape)}, the model has "
                              f"{list(param.shape)}: config.json and the weights do not fit each other.")
    with torch.no_grad():
        param.copy_(loaded_weight.reshape(param.shape))


def set_weight_attrs(weight: Tensor, weight_attrs: Mapping[str, Any] | None) -> None:
    """Give a parameter attributes, such as its `weight_loader`. ConfigError for one that it has already."""
    for name, value in (weight_attrs or {}).items():
        if hasattr(weight, name):
            raise ConfigError(f"weight_attrs.{name}", value, expected="a name that the parameter has no attribute of",
                              hint="Layers of weft load their own parameters: leave their weight_loader as it is.")
        setattr(weight, name, value)


def maybe_remap_kv_scale_name(name: str, params_dict: Container[str]) -> str | None:
    """The parameter that a checkpoint's scale of cached keys or values goes to; another name unchanged.

    None: the model has no parameter for the scale, so it is to be left out, as weft's caches need none.
    """
    if not name.endswith((".k_scale", ".v_scale", ".kv_scale", "_proj.output_scale")):
        return name
    for pattern, new in _SCALE_NAMES:
        renamed = pattern.sub(new, name)
        if renamed != name:
            return renamed if renamed in params_dict else None
    return name if name in params_dict else None
