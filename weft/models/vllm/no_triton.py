"""`vllm.triton_utils` without Triton: files that define Triton kernels import, and calling a kernel raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from weft.errors import NotBuiltError

HAS_TRITON = False


class Kernel:
    """A function that would be a Triton kernel."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", "kernel")

    def __getitem__(self, grid: Any) -> Kernel:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """NotBuiltError."""
        raise NotBuiltError("triton kernel", self.__name__, expected="not to be called",
                            hint="weft runs on the CPU without Triton; give the model a path in plain torch.")


class _Triton:
    """The module `triton`, as far as modules use it while they are imported."""

    __version__ = "0.0"

    def jit(self, function: Any = None, **unused: Any) -> Any:
        """Decorator."""
        return Kernel if function is None else Kernel(function)

    def autotune(self, *unused: Any, **named: Any) -> Callable[[Any], Any]:
        """Decorator."""
        return lambda kernel: kernel

    heuristics = autotune

    def Config(self, *unused: Any, **named: Any) -> None:
        """A choice of autotune."""

    def cdiv(self, a: int, b: int) -> int:
        """a / b, rounded up."""
        return -(a // -b)

    def next_power_of_2(self, n: int) -> int:
        """The smallest power of two that is at least n."""
        return 1 << max(0, n - 1).bit_length()


class _Language:
    """The module `triton.language`: names for annotations in kernels that are never compiled."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Any


triton, tl = _Triton(), _Language()
tldevice = tl
