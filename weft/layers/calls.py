"""How a layer is called: straight to its `forward`, until code from outside hooks the layer or replaces its `forward`.

torch's own call looks for hooks each time, which costs as much as a small kernel. So a class of layers has its
`forward` as `__call__`. A layer that gets a hook, or a `forward` of its own, changes to a subclass that is called
torch's way; once the hook or the `forward` is gone, the layer changes back. A recorded step runs no Python, so models
ask their `Watch` before they record or replay one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from torch import nn


class LayerType(type):
    """The type of all classes of layers. `Class.forward = function`, and its undoing, reach the layers' calls, too."""

    def __setattr__(cls, name: str, value: Any) -> None:
        is_direct = name == "forward" and _is_direct(cls)
        super().__setattr__(name, value)
        if is_direct:
            super().__setattr__("__call__", value)

    def __delattr__(cls, name: str) -> None:
        is_direct = name == "forward" and "__call__" in vars(cls) and _is_direct(cls)
        super().__delattr__(name)
        if is_direct:
            super().__delattr__("__call__")


def _is_direct(cls: Any) -> bool:
    """True where calls of a class's layers go straight to `forward`."""
    return cls.__call__ is cls.forward


class Watch:
    """Says whether layers of a model are hooked, or run another `forward` than the one they were built with.

    modules: of the model, as it is built.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._changed: list[nn.Module] = []                   # layers that run torch's way because of a change
        self._calls: dict[type, Callable[..., Any]] = {}
        for module in modules:
            vars(module)["watch"] = self
            self._calls[type(module)] = type(module).__call__

    def add(self, layer: nn.Module) -> None:
        """A layer was hooked or given another `forward`."""
        if layer not in self._changed:
            self._changed.append(layer)

    @property
    def is_changed(self) -> bool:
        """True while any layer is hooked, or has another `forward`, or its class has."""
        if self._changed:
            self._changed = [layer for layer in self._changed if not _restored(layer)]
        return bool(self._changed) or any(cls.__call__ is not call for cls, call in self._calls.items())


def call_with_hooks(layer: nn.Module) -> None:
    """From now on a layer is called torch's way: with its hooks, and with its own `forward` if it has one."""
    if type(layer).__call__ is not nn.Module.__call__:
        layer.__class__ = _hooked(type(layer))
    watch = vars(layer).get("watch")
    if watch is not None:
        watch.add(layer)


@cache
def _hooked(cls: type) -> type:
    """A subclass that differs from a class of layers only in how its layers are called."""
    names = {"__call__": nn.Module.__call__, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls)(cls.__name__, (cls,), names)


def _restored(layer: nn.Module) -> bool:
    """Whether a layer has neither hooks nor a `forward` of its own any more; then it is called straight again."""
    if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
        return False
    plain = type(layer).__base__
    if plain is not None and type(layer) is _hooked(plain):
        layer.__class__ = plain
    return True
