"""Dictionaries inside vLLM that plugins read and write. Each read gives weft's; each write says what to do instead."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, NoReturn

from torch import nn

from weft.errors import NotBuiltError
from weft.layers.public.activation import get_act_fn, known_acts


class _ReadOnly(MutableMapping[Any, Any]):
    """Refuses writes by name. A mapping to subclass."""

    name, instead = "", ""

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise NotBuiltError(f"{self.name}[{key!r}]", "written", expected="a dictionary that is only read",
                            hint=self.instead)

    def __delitem__(self, key: Any) -> NoReturn:
        raise NotBuiltError(f"{self.name}[{key!r}]", "deleted", expected="a dictionary that is only read",
                            hint=self.instead)


class ActivationRegistry(_ReadOnly):
    """A config's name of an activation -> a new module, as `get_act_fn`."""

    name = "_ACTIVATION_REGISTRY"
    instead = "get_act_fn does not look here: make the activation in the model's own class."

    def __getitem__(self, key: str) -> nn.Module:
        if key not in known_acts():
            raise KeyError(key)
        return get_act_fn(key)

    def __iter__(self) -> Iterator[str]:
        return iter(known_acts())

    def __len__(self) -> int:
        return len(known_acts())


class RopeDict(_ReadOnly):
    """Always empty: `get_rope` makes a new object for each call, and these share their angles during a step."""

    name = "_ROPE_DICT"
    instead = "get_rope does not look here: return the object to the layer that asks, instead of keeping it."

    def __getitem__(self, key: Any) -> NoReturn:
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0


_ACTIVATION_REGISTRY = ActivationRegistry()
_ROPE_DICT = RopeDict()
