"""`PackedWeight`: what a public layer's `weight` is once its kernel has packed the numbers.

The numbers can still be read (any torch function sees them, unpacked for the call), not written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

# What is answered from shape and dtype alone.
_FACTS = {torch.Tensor.size, torch.Tensor.dim, torch.Tensor.numel, torch.Tensor.element_size, torch.Tensor.__len__,
          torch.Tensor.is_floating_point, *(getattr(torch.Tensor, name).__get__ for name in (
              "shape", "dtype", "ndim", "requires_grad", "is_leaf", "grad", "is_sparse", "layout", "is_meta",
              "is_quantized", "grad_fn"))}
_DEVICE = torch.Tensor.device.__get__
_ADDRESSES = {torch.Tensor.data_ptr, torch.Tensor.untyped_storage, torch.Tensor.set_}


class PackedWeight(nn.Parameter):
    """[N, K] in the model's dtype. Reading makes a copy of the numbers; writing is refused."""

    _unpack: Callable[[], Tensor]

    @classmethod
    def make(cls, shape: torch.Size, dtype: torch.dtype, unpack: Callable[[], Tensor]) -> PackedWeight:
        """unpack(): the numbers, [N, K] in dtype, on memory of their own."""
        weight = torch.Tensor._make_subclass(cls, torch.empty(shape, dtype=dtype, device="meta"), False)
        weight._unpack = unpack
        return weight

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FACTS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        if func is _DEVICE:
            return torch.device("cpu")
        name = getattr(func, "__name__", str(func))
        is_write = name == "__set__" or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if func in _ADDRESSES or (is_write and args and isinstance(args[0], cls)):
            raise RuntimeError(f"{name} on a packed weight: its kernel keeps the numbers in an order of its own, so "
                               "they can be read but not changed in place. Change the checkpoint, or the weight in "
                               "load_weights before the engine packs it.")
        args, kwargs = tree_map(lambda x: x._unpack() if isinstance(x, cls) else x, (args, kwargs or {}))
        return func(*args, **kwargs)
