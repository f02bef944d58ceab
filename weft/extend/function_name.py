"""Functions by name, `module:function`: how one reaches another process, since messages never carry code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from weft.errors import ConfigError


def name_of(function: Callable[..., Any], *, field: str) -> str:
    """`module:function` of a function that another process can import. ConfigError for any other, such as a lambda."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found = getattr(sys.modules.get(module or ""), name, None)
    if module is None or module == "__main__" or found is not function:
        raise ConfigError(field, name or repr(function), expected="a function at the top of a module that can be "
                          "imported, because the engine runs in another process",
                          hint="Put the function into a module, or use LLM, whose engine is in this process.")
    return f"{module}:{name}"


def function_named(text: str, *, field: str) -> Callable[..., Any]:
    """The function of `module:function`. ConfigError when there is none."""
    module, _, name = text.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(field, text, expected="module:function that the engine's process can import",
                          hint=f"{type(error).__name__}: {error}.") from error
    return function
