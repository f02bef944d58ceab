"""Loads what "module:Name" or "path/file.py:Name" names, and finds such a name for an object.

Knows nothing about the object. Each class, description or function that is given by name comes through here.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from weft.compat.vllm.finder import answering
from weft.errors import ConfigError
from weft.extend.python_file import load_python_file
from weft.extend.user_frame import told_with_place


def split_name(text: str) -> tuple[str, str | None]:
    """("module" or "path/file.py", "Name"); (text, None) for text of another form, such as a path alone."""
    place, _, name = text.rpartition(":")
    return (place, name) if place and name.isidentifier() else (text, None)


def place_and_name(text: str, *, field: str) -> tuple[str, str]:
    """As `split_name`. ConfigError naming `field` for text without a name."""
    place, name = split_name(text)
    if name is None:
        raise ConfigError(field, text, expected='"module:Name" or "path/file.py:Name"')
    return place, name


def load_named(text: str, *, field: str) -> Any:
    """The object. ConfigError naming `field` if there is none; of a module that breaks it names file and line."""
    place, name = place_and_name(text, field=field)
    if place.endswith(".py"):
        module = load_python_file(Path(place), field=field)
    else:
        try:
            with answering():
                module = importlib.import_module(place)
        except (Exception, SystemExit) as error:
            raise ConfigError(field, text, expected="a module that can be imported",
                              hint=told_with_place(error)) from error
    if not hasattr(module, name):
        near = ", ".join(key for key, value in vars(module).items() if inspect.isclass(value)) or "none"
        raise ConfigError(field, text, expected=f"a name that {place} has", hint=f"Its classes: {near}.")
    return getattr(module, name)


def portable_name(value: Any) -> str | None:
    """The name under which another process can load a class or function; None for what only this process has."""
    module, name = sys.modules.get(getattr(value, "__module__", "")), getattr(value, "__qualname__", "")
    if module is None or module.__name__ == "__main__" or getattr(module, name, None) is not value:
        return None
    top = module.__name__.partition(".")[0]
    if any(finder.find_spec(top, None) is not None for finder in sys.meta_path):
        return f"{module.__name__}:{name}"
    file = getattr(module, "__file__", None) or ""
    return f"{Path(file).resolve()}:{name}" if file.endswith(".py") else None


def portable(value: Any) -> Any:
    """A class or function under its `portable_name`, if it has one; "file.py:Name" with the file's absolute path."""
    if not isinstance(value, str):
        return portable_name(value) or value
    place, name = split_name(value)
    return f"{Path(place).expanduser().resolve()}:{name}" if name is not None and place.endswith(".py") else value


def name_of_function(function: Any, *, field: str) -> str:
    """A function's `portable_name`, which messages carry instead of it. ConfigError for one without, e.g. a lambda."""
    name = portable_name(function)
    if name is None:
        raise ConfigError(field, getattr(function, "__qualname__", repr(function)), expected="a function at the top of "
                          "a module that can be imported, because the engine runs in another process",
                          hint="Put the function into a module, or use LLM, whose engine is in this process.")
    return name
