"""`CustomOp`: vLLM's base of layers with a forward for each device. On the CPU: `forward_cpu` or `forward_native`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from torch import nn

from weft.errors import NotBuiltError

T = TypeVar("T", bound=type)


class CustomOp(nn.Module):
    """Calls the CPU's forward. `register` gives a class a name, which is all that it does here."""

    name: ClassVar[str] = ""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """forward_cpu, which is forward_native unless a subclass has its own."""
        return self.forward_cpu(*args, **kwargs)

    def forward_native(self, *args: Any, **kwargs: Any) -> Any:
        """Plain torch. NotBuiltError in a class that has none."""
        raise NotBuiltError(f"{type(self).__qualname__}.forward", "forward_cuda or the like",
                            expected="forward_native or forward_cpu", hint="weft computes on the CPU: add one of them.")

    def forward_cpu(self, *args: Any, **kwargs: Any) -> Any:
        """As forward_native."""
        return self.forward_native(*args, **kwargs)

    @classmethod
    def enabled(cls) -> bool:
        """False: there is no other than the native implementation."""
        return False

    @classmethod
    def register(cls, name: str, **unused: Any) -> Callable[[T], T]:
        """Class decorator."""
        def mark(op_cls: T) -> T:
            op_cls.name = name      # pyright: ignore[reportAttributeAccessIssue]  any class, as vLLM's decorator takes
            return op_cls

        return mark

    @classmethod
    def register_oot(cls, *args: Any, **unused: Any) -> Callable[[T], T]:
        """Class decorator of replacements for other devices, which are never made here."""
        return lambda op_cls: op_cls


class PluggableLayer(CustomOp):
    """The same under a later name."""
