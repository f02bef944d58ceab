"""Writes tiny random checkpoints in the layout that published ones have.

Weights are random but so that an error shows: norms are scattered around their initial value, biases are not zero,
matrices keep the size of what passes through them. Each tensor has a seed of its own, made from its name.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
import transformers
from tiny_variants import Tiny
from torch import Tensor, nn

_LAST_NORMS = ("model.norm.weight", "ln_f.weight", "decoder.final_layer_norm.weight",
               "gpt_neox.final_layer_norm.weight", "embedding_norm.weight")


def transformers_model(tiny: Tiny) -> nn.Module:
    """The tiny model in Transformers, in float32."""
    cls = getattr(transformers, tiny.cls)
    config = cls.config_class(**tiny.values)
    config._attn_implementation = tiny.attention
    torch.manual_seed(0)                     # decays of states begin at random
    model = cls(config).float().eval()
    _fill(model)
    return model


def write_checkpoint(tiny: Tiny, path: Path) -> nn.Module:
    """Write a tiny checkpoint into an empty directory and return the Transformers model that it came from."""
    model = transformers_model(tiny)
    model.save_pretrained(path)
    file = path / "config.json"
    config = json.loads(file.read_text())
    # save_pretrained also keeps the keys of SIZES that this family does not have; a published config has none.
    own = set(type(model.config)().to_dict()) | set(tiny.config)
    config = {k: v for k, v in config.items() if k not in tiny.sizes or k in own}
    if tiny.legacy:
        config = _with_rope_keys_of_transformers_4(config)
    file.write_text(json.dumps({k: v for k, v in config.items() if k not in tiny.drop}))
    return model


def _with_rope_keys_of_transformers_4(config: dict) -> dict:
    rope = config.pop("rope_parameters")
    if "full_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    theta, partial = rope.pop("rope_theta"), rope.pop("partial_rotary_factor", 1.0)
    if config["model_type"] == "gpt_neox":
        return config | {"rotary_emb_base": theta, "rotary_pct": partial}
    rope.pop("original_max_position_embeddings", None)
    rope["type"] = {"longrope": "su"}.get(rope.pop("rope_type"), "linear")
    return config | {"rope_theta": theta, "rope_scaling": rope}


def noise(name: str, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers that depend on the name only."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _fill(model: nn.Module) -> None:
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    stored_in_out = {id(m.weight) for m in model.modules() if type(m).__name__ == "Conv1D"}
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for name, parameter in model.named_parameters():
        random = noise(name, parameter.shape)
        if name.endswith("encoder.embed_positions.weight") and not parameter.requires_grad:
            continue                         # RoFormer's fixed table
        if tied and name.endswith(_LAST_NORMS):
            parameter.copy_(1.5 * random)    # of both signs, or the last token would be the likeliest next one
        elif parameter.dim() == 1 or "norm" in name:
            parameter += 0.2 * random
        elif id(parameter) in embeddings:
            parameter.copy_((0.1 if tied else 0.3) * random)
        else:
            inputs = parameter.shape[0 if id(parameter) in stored_in_out else -1]
            parameter.copy_(1.5 * random / inputs ** 0.5)
    for name, buffer in model.named_buffers():
        if name.endswith(("e_score_correction_bias", "expert_bias")):
            buffer.copy_(0.2 * noise(name, buffer.shape))
