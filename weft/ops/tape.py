"""`Recording`: graph capture for native kernels. It keeps their calls on a tape, and checks that a replay is complete.

A replay calls the kernels with the same addresses; it runs no Python and no torch. So a recording is valid only if
native kernels computed everything: a torch operator that neither makes a view nor allocates memory spoils it.
Memory that is allocated while recording comes from an arena (`ops/arena.py`) and lives as long as the recording.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from weft.ops.arena import Arena
from weft.ops.native import extension, kernels


class Recording(TorchDispatchMode):
    """`with recording:` around the calls, then `replay()`. spoilers: torch operators that a replay would leave out.

    arena: memory for what the calls allocate; recordings that are replayed one at a time may share it.
    """

    def __init__(self, isa: str, arena: Arena | None = None) -> None:
        super().__init__()
        self._replay, self._tape = kernels(isa).replay, extension().Tape()
        self._arena = arena or Arena()
        self._kept: list[Tensor] = []
        self.spoilers: set[str] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False. With True torch would import its compiler (about 1 s) to keep it away, though nothing is compiled."""
        return False

    def __enter__(self) -> Recording:
        extension().record(self._tape)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        extension().record(None)
        super().__exit__(*exception)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.name().startswith("aten::empty"):
            return self._allocated(result)
        results = [x for x in tree_iter(result) if isinstance(x, Tensor)]
        if not _is_view(func, args, results):
            self.spoilers.add(func.name())
        return result

    def _allocated(self, x: Tensor) -> Tensor:
        """x, or memory of the arena in its place."""
        if x.device.type == "cpu" and x.layout == torch.strided and x.numel():
            return self._arena.empty_like(x)
        self._kept.append(x)
        return x

    def __len__(self) -> int:
        return len(self._tape)

    def replay(self) -> None:
        """Make the calls again."""
        self._replay(self._tape)


def _is_view(func: Any, args: Any, results: list[Tensor]) -> bool:
    """True if every result lies in the memory of an argument, and the operator writes nothing."""
    memory = {_address(x) for x in tree_iter(args) if isinstance(x, Tensor)}
    return not func._schema.is_mutable and bool(results) and all(_address(x) in memory for x in results)


def _address(x: Tensor) -> object:
    """The address of a tensor's memory. oneDNN's tensors hide it: they get an object that equals no other."""
    try:
        return x.untyped_storage().data_ptr()
    except NotImplementedError:
        return object()
