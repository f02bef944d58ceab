"""`support_torch_compile`: vLLM's mark of a class whose steps may be captured. weft compiles nothing; it records.

The mark is the author's promise that Python in `forward` takes the same way for all steps of one shape: branches depend
on shapes and types, not on numbers. So decode steps of a marked module may be recorded and replayed
(`models/programmed/recorded.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from torch import nn

from weft.errors import ConfigError

_MARK = "_weft_compile_mark"
Cls = TypeVar("Cls", bound=type[nn.Module])
Dims = Mapping[str, int | Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileMark:
    """What a class was marked with. enable_if(vllm_config): whether the mark counts; None: always."""

    enable_if: Callable[[Any], bool] | None = None


@overload
def support_torch_compile(cls: Cls, /) -> Cls: ...


@overload
def support_torch_compile(cls: None = None, /, *, dynamic_arg_dims: Dims | None = None,
                          mark_unbacked_dims: Dims | None = None,
                          enable_if: Callable[[Any], bool] | None = None,
                          shape_invariants: Callable[..., None] | None = None,
                          is_encoder: bool = False) -> Callable[[Cls], Cls]: ...


def support_torch_compile(cls: Any = None, /, *, dynamic_arg_dims: Dims | None = None,
                          mark_unbacked_dims: Dims | None = None,
                          enable_if: Callable[[Any], bool] | None = None,
                          shape_invariants: Callable[..., None] | None = None, is_encoder: bool = False) -> Any:
    """Mark a class: `@support_torch_compile`, or with arguments as vLLM's. Subclasses are marked, too.

    enable_if(vllm_config): whether the mark counts for a configuration.
    dynamic_arg_dims, mark_unbacked_dims, shape_invariants, is_encoder: for a compiler. weft records each shape of a
    step apart, so it needs none of them; the names of arguments are checked.
    ConfigError for a name in the first two that `forward` does not have.
    """
    def mark(marked: Any) -> Any:
        for option, dims in (("dynamic_arg_dims", dynamic_arg_dims), ("mark_unbacked_dims", mark_unbacked_dims)):
            _check_names(marked, option, dims or {})
        setattr(marked, _MARK, CompileMark(enable_if=enable_if))
        return marked

    return mark if cls is None else mark(cls)


def ignore_torch_compile(cls: Cls) -> Cls:
    """Take the mark of a base class away from a class."""
    setattr(cls, _MARK, None)
    return cls


def compile_mark(module: nn.Module) -> CompileMark | None:
    """The mark of a module's class; None without one."""
    return getattr(type(module), _MARK, None)


def _check_names(cls: type, option: str, dims: Dims) -> None:
    known = list(inspect.signature(cls.forward).parameters)[1:]       # without self
    for name in dims:
        if name not in known:
            raise ConfigError(f"support_torch_compile.{option}", name,
                              expected=f"an argument of {cls.__qualname__}.forward: {', '.join(known) or 'none'}")
