"""`Recording`: native calls kept on a tape while Python makes them, and whether repeating them alone would do the same.

A replay calls the kernels with the same addresses, and runs no Python and no torch. So a recording is good only if all
that moved numbers were native kernels: torch's own operators are watched, and any that is neither a view nor new memory
spoils it. Memory that was made meanwhile is kept as long as the recording.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from weft.ops.native import extension, kernels


class Recording(TorchDispatchMode):
    """`with recording:` around the calls, then `replay()`.

    spoilers: torch's operators that a replay would leave out.
    """

    def __init__(self, isa: str) -> None:
        super().__init__()
        self._replay, self._tape = kernels(isa).replay, extension().Tape()
        self._kept: list[Tensor] = []
        self.spoilers: set[str] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler, which takes a second, to keep it away from what is not compiled."""
        return False

    def __enter__(self) -> Recording:
        extension().record(self._tape)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        extension().record(None)
        super().__exit__(*exception)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        results = [x for x in tree_iter(result) if isinstance(x, Tensor)]
        if not func.name().startswith("aten::empty") and not _is_view(func, args, results):
            self.spoilers.add(func.name())
        self._kept += results
        return result

    def __len__(self) -> int:
        return len(self._tape)

    def replay(self) -> None:
        """Make the calls again."""
        self._replay(self._tape)


def _is_view(func: Any, args: Any, results: list[Tensor]) -> bool:
    """All results lie in an argument's memory, and nothing was written."""
    memory = {_address(x) for x in tree_iter(args) if isinstance(x, Tensor)}
    return not func._schema.is_mutable and bool(results) and all(_address(x) in memory for x in results)


def _address(x: Tensor) -> object:
    """Of the tensor's memory; equal to nothing for tensors of oneDNN's, which hide theirs."""
    try:
        return x.untyped_storage().data_ptr()
    except NotImplementedError:
        return object()
