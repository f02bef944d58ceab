"""Checkpoints with a fault: weft gets a config or a weight that is not the one of the Transformers model beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tiny_models import write_checkpoint
from tiny_variants import VARIANTS
from torch import Tensor, nn


def plant(path: Path, variant: str, *, config: dict | None = None, tensor: str | None = None,
          change: Callable[[Tensor], Tensor] = lambda x: x + 0.5) -> nn.Module:
    """Write a variant of `tiny_variants` with keys of its config, or one tensor, changed; the unchanged model.

    tensor: the end of one tensor's name.
    """
    model = write_checkpoint(VARIANTS[variant], path)
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (config or {})))
    if tensor is not None:
        weights = load_file(path / "model.safetensors")
        (name,) = [name for name in weights if name.endswith(tensor)]
        weights[name] = change(weights[name]).contiguous()
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return model


def spec_file(path: Path, architecture: str, changes: str) -> Path:
    """A model file whose description is weft's own of an architecture after `changes`.

    changes: an expression of `spec`, `block` (the first) and `replace`, for the changed spec.
    """
    path.write_text(f"""
from dataclasses import replace
from weft.architectures.registry import architecture, families
from weft.architectures.spec import *

own = families()[{architecture!r}].describe


def each(spec, change):
    return replace(spec, blocks=tuple(change(block) for block in spec.blocks))


@architecture({architecture!r})
def changed(c):
    spec = own(c)
    return {changes}
""")
    return path


def shuffled(x: Tensor) -> Tensor:
    """The rows of a matrix in another order."""
    return x[torch.arange(len(x)).roll(1)]
