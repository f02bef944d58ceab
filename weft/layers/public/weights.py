"""Small functions that the `load_weights` of foreign models calls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weft.errors import CheckpointError


def default_weight_loader(param: nn.Parameter, loaded_weight: Tensor) -> None:
    """Copy a checkpoint's tensor into a parameter: by the parameter's own loader where it has one."""
    loader = getattr(param, "weight_loader", None)
    if loader is not None:
        loader(param, loaded_weight)
        return
    if param.shape != loaded_weight.shape:
        raise CheckpointError(f"the checkpoint's tensor is {list(loaded_weight.shape)}, the model has "
                              f"{list(param.shape)}: config.json and the weights do not fit each other.")
    with torch.no_grad():
        param.copy_(loaded_weight)


def maybe_prefix(prefix: str, name: str) -> str:
    """`prefix.name`, or `name` without a prefix."""
    return f"{prefix}.{name}" if prefix else name
