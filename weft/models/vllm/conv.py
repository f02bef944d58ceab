"""Convolutions of towers, under the names and arguments of vLLM's layers. They are torch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Conv2dLayer(nn.Conv2d):
    """Over two dimensions. params_dtype: of the weights."""

    def __init__(self, *args: Any, params_dtype: torch.dtype | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, dtype=params_dtype)


class Conv3dLayer(nn.Conv3d):
    """Over three dimensions. params_dtype: of the weights."""

    def __init__(self, *args: Any, params_dtype: torch.dtype | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, dtype=params_dtype)
