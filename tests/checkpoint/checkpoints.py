"""A model of four kinds of homes and checkpoints for it."""

import json

import torch
from safetensors.torch import save_file

from weft.architectures.names import names
from weft.layers.layer import Home, Layer

NAMES = names({
    "model.embed_tokens": "embedding.tokens",
    "model.layers.{i}.attn.qkv": ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v"),
    "model.layers.{i}.mlp.w1": "blocks.{i}.ffn.up",
    "model.norm": "final_norm",
    "lm_head": "head",
}, optional_prefix="model.", ignored=("model.layers.{i}.rotary.inv_freq",))
LAYERS = 3


def tensors(dtype=torch.float32, *, head=True):
    """A whole checkpoint, in the names of its files."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"model.embed_tokens.weight": (10, 4), "model.norm.weight": (4,)}
    for i in range(LAYERS):
        shapes |= {f"model.layers.{i}.attn.qkv.weight": (8, 4), f"model.layers.{i}.mlp.w1.weight": (6, 4)}
    if head:
        shapes["lm_head.weight"] = (10, 4)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def homes(dtype=torch.float32, *, head=True):
    """Homes full of NaN; q, k and v are row ranges of one fused parameter, as in the model."""
    found = {"embedding.tokens.weight": (10, 4), "final_norm.weight": (4,)}
    found = {name: torch.full(shape, torch.nan, dtype=dtype) for name, shape in found.items()}
    for i in range(LAYERS):
        fused = torch.full((8, 4), torch.nan, dtype=dtype)
        for part, rows in zip("qkv", fused.split([4, 2, 2]), strict=True):
            found[f"blocks.{i}.mixer.{part}.weight"] = rows
        found[f"blocks.{i}.ffn.up.weight"] = torch.full((6, 4), torch.nan, dtype=dtype)
    if head:
        found["head.weight"] = torch.full((10, 4), torch.nan, dtype=dtype)
    return found


def as_homes(views, **second_names):
    """Homes of one layer with these memories. second_names: further names, `__` for a dot, and whose homes they are."""
    layer = Layer()
    found = {name: Home(view, layer, name) for name, view in views.items()}
    return found | {name.replace("__", "."): found[own] for name, own in second_names.items()}


def save(directory, state, name="model.safetensors"):
    directory.mkdir(parents=True, exist_ok=True)
    if name.endswith(".bin"):
        torch.save(state, directory / name)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, directory / name)
    return directory


def save_sharded(directory, state, *, suffix="safetensors", num_files=3):
    """Shards with an index, tensors dealt out in turn."""
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    files = [f"{stem}-{n + 1:05}-of-{num_files:05}.{suffix}" for n in range(num_files)]
    weight_map = {name: files[n % num_files] for n, name in enumerate(state)}
    for file in files:
        save(directory, {name: state[name] for name in state if weight_map[name] == file}, file)
    (directory / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return weight_map
