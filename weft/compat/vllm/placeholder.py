"""What stands for a name of vLLM that weft has no object for.

A `Placeholder` imports and annotates; calling, subclassing or patching it raises one error. A `Later` class may be
subclassed too, because files define such classes when they are imported; making an object of one raises.
"""

from __future__ import annotations

from abc import ABCMeta
from typing import Any, NoReturn, Union

from weft.compat.vllm.asker import Asker, asker
from weft.compat.vllm.reasons import reason_for
from weft.compat.vllm.table import known_names
from weft.errors import NotBuiltError, nearest


class Placeholder:
    """A name of vLLM without an object. name: its full path. asked: the line that imported it."""

    def __init__(self, name: str, asked: Asker) -> None:
        object.__setattr__(self, "__name__", name.rpartition(".")[2])
        object.__setattr__(self, "__qualname__", name)
        object.__setattr__(self, "__module__", name.rpartition(".")[0])
        object.__setattr__(self, "_asked", asked)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Always NotBuiltError."""
        refuse(self.__qualname__, "called", self._asked)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        refuse(self.__qualname__, "subclassed", self._asked)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Placeholder(f"{self.__qualname__}.{name}", self._asked)

    def __setattr__(self, name: str, value: Any) -> None:
        refuse(f"{self.__qualname__}.{name}", "patched", self._asked)

    def __delattr__(self, name: str) -> None:
        refuse(f"{self.__qualname__}.{name}", "patched", self._asked)

    def __instancecheck__(self, instance: Any) -> bool:
        return False

    def __subclasscheck__(self, cls: type) -> bool:
        return False

    def __getitem__(self, item: Any) -> Placeholder:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        refuse(f"{self.__qualname__}[{key!r}]", "patched", self._asked)

    def __iter__(self) -> NoReturn:
        refuse(self.__qualname__, "iterated over", self._asked)

    def __or__(self, other: Any) -> Any:
        return _union(self, other) or self

    def __ror__(self, other: Any) -> Any:
        return _union(other, self) or self

    def __repr__(self) -> str:
        return f"<placeholder for {self.__qualname__}>"


def _union(left: Any, right: Any) -> Any:
    """The union of two annotations; None where one is a value, as in `placeholder.attribute | value`."""
    try:
        return Union[left, right]      # noqa: UP007
    except TypeError:
        return None


class LaterType(ABCMeta):
    """The class of classes that may be subclassed before weft can make objects of them."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Always NotBuiltError."""
        base = next(base for base in cls.__mro__ if "_weft_later" in vars(base))
        own = "" if base is cls else f", which {cls.__module__}.{cls.__qualname__} needs"
        refuse(f"{base.__module__}.{base.__qualname__}", "made", asker(), reason=vars(base)["_weft_later"] + own)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return Placeholder(f"{cls.__module__}.{cls.__qualname__}.{name}", asker())


def later_class(path: str, name: str, reason: str) -> type:
    """A class that files may subclass, `[…]` and annotate with. reason: why no object of it can be made."""
    return LaterType(name, (), {"__module__": path, "__qualname__": name, "_weft_later": reason, "__doc__": reason,
                                "__class_getitem__": classmethod(_itself), "__init_subclass__": classmethod(_any)})


def _itself(cls: type, item: Any) -> type:
    return cls


def _any(cls: type, **options: Any) -> None:
    """Options of a class statement, as of a TypedDict, are not looked at."""


def refuse(name: str, action: str, asked: Asker, reason: str = "") -> NoReturn:
    """NotBuiltError: the name, what was done with it, both lines, the reason if there is one, and the nearest names."""
    here = asker()
    reason = reason or reason_for(name) or "weft has no object for this name"
    sentence = reason if reason.startswith("weft") else reason[:1].upper() + reason[1:]
    raise NotBuiltError(name, action, expected="a name of vLLM that weft has", hint=f"{sentence}.{_nearest(name)}",
                        source=f"{here}" if here == asked else f"{here}, imported at {asked}")


def _nearest(name: str) -> str:
    known = known_names()
    last = name.rpartition(".")[2]
    near = nearest(last, known, count=2, cutoff=0.7)
    return f" Nearest: {', '.join(known[key] for key in near)}." if near else ""
