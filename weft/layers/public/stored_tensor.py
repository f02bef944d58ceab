"""`StoredTensor`: a checkpoint's tensor as the `load_weights` of foreign models sees it: a handle, read when used.

Layers of weft take codes (quantized values) from it as they are stored; every other use reads the numbers. So a model
loads from a quantized checkpoint without a word about it, and no more than one tensor is in memory as floats. The
handle also tells its owner that it was used, by which tensors that nothing took are found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from weft.layers.public.loaded_weight import FACTS, fact
from weft.ops.quantized import QuantizedWeight

_untouched = torch._C.DisableTorchFunctionSubclass

# Functions that pick entries of the first dimension, of which codes can be picked, too.
_PICKS = {Tensor.__getitem__, Tensor.narrow, Tensor.split, Tensor.chunk, Tensor.unbind, Tensor.__iter__, torch.narrow,
          torch.split, torch.chunk, torch.unbind}
_TURNS = {Tensor.t, torch.t, Tensor.transpose, torch.transpose} | {
    getattr(Tensor, name).__get__ for name in ("T", "mT")}
_SAME = {Tensor.detach, Tensor.contiguous, Tensor.cpu, torch.detach}      # of a handle: the same handle


@dataclass(eq=False, kw_only=True)
class Source:
    """How a tensor is read. numbers(): all of it as floats. codes(): its codes; None: it has none after all.

    on_use(): called when something takes the tensor. int8_activations: as QuantizedWeight's. is_turned: the codes are
    those of the transposed matrix.
    """

    numbers: Callable[[], Tensor]
    on_use: Callable[[], None]
    codes: Callable[[], QuantizedWeight | None] | None = None
    int8_activations: bool = False
    is_turned: bool = False
    held: Any = None                     # what was read, while parts of the tensor are taken one by one


class StoredTensor(Tensor):
    """shape, dtype: of the numbers. It can be read, and cut along its first dimension; results are plain tensors."""

    _source: Source
    _entries: Tensor | None              # row numbers of the part that this handle is; None: all
    _is_turned: bool                     # this handle is of the source's transposed matrix

    @staticmethod
    def of(shape: tuple[int, ...], dtype: torch.dtype, source: Source, entries: Tensor | None = None, *,
           is_turned: bool = False) -> StoredTensor:
        """A handle. entries: the rows of this part, in the shape without the last dimension; None: all."""
        handle = torch.empty(shape, dtype=dtype, device="meta").as_subclass(StoredTensor)
        handle._source, handle._entries, handle._is_turned = source, entries, is_turned
        return handle

    @property
    def has_codes(self) -> bool:
        """Whether `codes` may give codes."""
        return self._source.codes is not None and self._source.is_turned == self._is_turned

    @property
    def has_int8_activations(self) -> bool:
        """As QuantizedWeight.int8_activations."""
        return self._source.int8_activations

    def leave_out(self) -> None:
        """The tensor is not needed: as if something had taken it."""
        self._source.on_use()

    def codes(self) -> QuantizedWeight | None:
        """The codes [rows, columns], all dimensions but the last flattened; None: only `numbers` can be read."""
        source = self._source
        source.on_use()
        if source.codes is None or not self.has_codes:
            return None
        if self._entries is None:
            return source.codes()
        if not isinstance(source.held, QuantizedWeight):
            source.held = source.codes()
        return None if source.held is None else source.held.rows(self._entries.flatten())

    def numbers(self) -> Tensor:
        """A plain tensor of the handle's shape."""
        source = self._source
        source.on_use()
        if self._entries is None:
            return self._all_numbers()
        if not isinstance(source.held, Tensor):
            source.held = self._all_numbers()
        return source.held.reshape(-1, source.held.shape[-1])[self._entries.flatten()].view(_shape(self))

    def _all_numbers(self) -> Tensor:
        return self._source.numbers().t() if self._is_turned else self._source.numbers()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FACTS:
            return fact(func, args, kwargs)
        if func in _SAME and isinstance(args[0], cls):
            return args[0]._same()
        if func in _TURNS and isinstance(args[0], cls) and args[0]._source.is_turned and _is_whole_turn(args, kwargs):
            return args[0]._turned()
        if func in _PICKS and isinstance(args[0], cls) and _is_of_first(func, args, kwargs) and args[0].has_codes:
            return args[0]._picked(func, args[1:], kwargs)
        args, kwargs = tree_map(lambda x: x.numbers() if isinstance(x, cls) else x, (args, kwargs))
        return func(*args, **kwargs)

    def _same(self) -> StoredTensor:
        with _untouched():
            return StoredTensor.of(tuple(self.shape), self.dtype, self._source, self._entries,
                                   is_turned=self._is_turned)

    def _turned(self) -> StoredTensor:
        rows, columns = _shape(self)
        with _untouched():
            return StoredTensor.of((columns, rows), self.dtype, self._source, is_turned=not self._is_turned)

    def _picked(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What `func` picks of the first dimension, as handles."""
        shape = _shape(self)
        rows = torch.arange(_prod(shape[:-1])).view(shape[:-1]) if self._entries is None else self._entries
        picked = func(rows, *args, **kwargs)
        return tree_map(lambda part: self._part(part, shape[-1]) if isinstance(part, Tensor) else part, picked)

    def _part(self, rows: Tensor, columns: int) -> StoredTensor:
        with _untouched():
            return StoredTensor.of((*rows.shape, columns), self.dtype, self._source, rows, is_turned=self._is_turned)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled as a plain tensor."""
        return self.numbers().clone().__reduce_ex__(protocol)


def leave_out(tensor: Tensor) -> None:
    """Say that a tensor of a checkpoint is not needed on purpose."""
    if isinstance(tensor, StoredTensor):
        tensor.leave_out()


def _shape(handle: StoredTensor) -> tuple[int, ...]:
    with _untouched():
        return tuple(handle.shape)


def _is_whole_turn(args: Any, kwargs: Any) -> bool:
    """Whether a call of a function of `_TURNS` swaps the two dimensions of a whole matrix."""
    handle, *dims = args
    dims = [*dims, *kwargs.values()]
    return len(_shape(handle)) == 2 and handle._entries is None and sorted(dim % 2 for dim in dims) in ([], [0, 1])


def _is_of_first(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether a call of a function of `_PICKS` is about the first dimension of a tensor that has more than one."""
    if len(_shape(args[0])) < 2 or any(isinstance(x, StoredTensor) for x in tree_leaves((args[1:], kwargs))):
        return False
    if func == Tensor.__getitem__:
        return isinstance(args[1], int | slice)
    if func == Tensor.__iter__:
        return True
    places = {"unbind": 1}
    at = places.get(func.__name__, 2) if func.__name__ != "narrow" else 1
    dim = kwargs.get("dim", args[at] if len(args) > at else 0)
    return dim in (0, -len(_shape(args[0])))


def _prod(sizes: tuple[int, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
