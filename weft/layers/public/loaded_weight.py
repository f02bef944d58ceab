"""`LoadedWeight`: what a public layer's parameter is once its kernel has the numbers: readable, not writable.

Kernels pack weights, quantize them or keep copies of another dtype. So a write would be lost, or would spoil a packed
weight; it is an error instead. Reading works as on any parameter: torch's functions see the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from weft.errors import ConfigError

_untouched = torch._C.DisableTorchFunctionSubclass
_CPU = torch.device("cpu")

# What a tensor on "meta" answers without being read; `fact` gives the answers.
FACTS = {getattr(Tensor, name) for name in (
    "size", "dim", "numel", "nelement", "element_size", "stride", "is_contiguous", "is_floating_point", "__len__",
    "requires_grad_")} | {getattr(Tensor, name).__get__ for name in (
        "shape", "dtype", "ndim", "nbytes", "itemsize", "requires_grad", "is_leaf", "grad", "grad_fn", "layout",
        "is_cuda", "is_sparse", "is_quantized")} | {
            getattr(Tensor, name).__set__ for name in ("requires_grad", "grad")}
_DEVICE, _IS_META = (getattr(Tensor, name).__get__ for name in ("device", "is_meta"))
FACTS |= {_DEVICE, _IS_META}      # which "meta" would answer wrongly
_ADDRESSES = {Tensor.data_ptr, Tensor.untyped_storage}
_OPERATIONS = "add|sub|mul|truediv|floordiv|mod|pow|matmul|and|or|xor|lshift|rshift"
_IN_PLACE = re.compile(rf"__set(item)?__|__i({_OPERATIONS})__|.*[^_]_")      # names of functions that write argument 0


def fact(func: Any, args: Any, kwargs: Any) -> Any:
    """What a function of FACTS says of a tensor that lies on "meta" only as long as nobody reads it."""
    if func == _DEVICE:
        return vars(args[0]).get("_device", _CPU)
    if func == _IS_META:
        return False
    with _untouched():
        return func(*args, **kwargs)


class LoadedWeight(nn.Parameter):
    """[N, K] or [N], in the model's dtype. RuntimeError names the weight when it is written."""

    _name: str
    _read: Callable[[], Tensor]
    _device: torch.device

    @staticmethod
    def become(parameter: nn.Parameter, name: str, read: Callable[[], Tensor]) -> None:
        """Turn a parameter into a LoadedWeight, for every holder of it. name: for errors; read(): the numbers."""
        device = parameter.device
        put_into(parameter, torch.empty(parameter.shape, dtype=parameter.dtype, device="meta"))
        vars(parameter).update(_name=name, _read=read, _device=device)
        parameter.__class__ = LoadedWeight

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FACTS:
            return fact(func, args, kwargs)
        for weight in tree_leaves((args, kwargs)):
            if isinstance(weight, cls) and func in _ADDRESSES:
                _refuse(func, weight._name)
        _refuse_write(func, args, kwargs, cls)
        args, kwargs = tree_map(lambda x: x._numbers() if isinstance(x, cls) else x, (args, kwargs))
        return func(*args, **kwargs)

    def _numbers(self) -> ReadOnly:
        with _untouched():
            numbers = self._read().as_subclass(ReadOnly)
        numbers._name = self._name
        return numbers

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Parameter:
        """A parameter with a copy of the numbers, which may be written."""
        return nn.Parameter(self.clone(), requires_grad=False)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled as a parameter with the numbers."""
        return self.__deepcopy__({}).__reduce_ex__(protocol)


class ReadOnly(Tensor):
    """The numbers of a LoadedWeight, and views of them. What torch computes from them is a plain tensor."""

    _name: str

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _refuse_write(func, args, kwargs, cls)
        with _untouched():
            result = func(*args, **kwargs)
            sources = {x.untyped_storage().data_ptr(): x._name for x in tree_leaves((args, kwargs))
                       if isinstance(x, cls)}
            return tree_map(lambda x: _marked(x, sources) if isinstance(x, Tensor) else x, result)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled as a plain tensor."""
        return self.clone().__reduce_ex__(protocol)


def _marked(x: Tensor, sources: dict[int, str]) -> Tensor:
    """x as ReadOnly if it lies in the memory of one."""
    name = None if x.is_meta else sources.get(x.untyped_storage().data_ptr())
    if name is None or isinstance(x, ReadOnly):
        return x
    x = x.as_subclass(ReadOnly)
    x._name = name
    return x


def _refuse_write(func: Any, args: Any, kwargs: Any, cls: type) -> None:
    written = [kwargs.get("out")]
    if _IN_PLACE.fullmatch(getattr(func, "__name__", "")) or kwargs.get("inplace"):
        written.append(args[0] if args else kwargs)           # torch.nn.init passes all by name
    for x in tree_leaves(written):
        if isinstance(x, cls):
            _refuse(func, x._name)


def _refuse(func: Any, name: str) -> None:
    raise RuntimeError(f"{name} is read-only ({getattr(func, '__name__', func)}): its kernel has the numbers, in its "
                       "own order. Read a clone(), or change the checkpoint or what load_weights gives.")


def put_into(parameter: nn.Parameter, tensor: Tensor) -> None:
    """Make a parameter hold another tensor, of any device, and lose its attributes; it stays the same object.

    ConfigError when a view of it is held somewhere, which would keep the old one.
    """
    try:
        torch.utils.swap_tensors(parameter, nn.Parameter(tensor, requires_grad=False))
    except RuntimeError as error:
        raise ConfigError("weight", f"{list(parameter.shape)}", expected="no views of it elsewhere in the model",
                          hint="Make views of a weight where they are used, in forward: a parameter has its numbers "
                               f"only after loading. ({error})") from error
