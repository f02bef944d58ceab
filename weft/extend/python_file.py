"""Running a user's Python file as a module: a model's description, a config parser. Knows not what is in it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from weft.errors import ConfigError


def split_class(name: str) -> tuple[str, str | None]:
    """("path/file.py", "Class") of `path/file.py:Class`; (name, None) of a path alone."""
    path, _, last = name.rpartition(":")
    return (path, last) if path.endswith(".py") and last.isidentifier() else (name, None)


def portable_class(model_class: Any) -> Any:
    """ "module:Class" where another process finds the class under that name, else the class as it is."""
    module, name = getattr(model_class, "__module__", "__main__"), getattr(model_class, "__qualname__", "")
    if isinstance(model_class, str) or module == "__main__" or not name.isidentifier():
        return model_class
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is model_class else model_class


def load_python_file(path: Path, *, field: str) -> ModuleType:
    """The file's module, run now. ConfigError about `field` when it is no Python file or does not run."""
    path = path.expanduser()
    if not path.is_file():
        raise ConfigError(field, str(path), expected="a Python file that exists",
                          hint=f"{path.absolute()} {'is a directory' if path.is_dir() else 'does not exist'}.")
    name = f"weft_{field}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(field, str(path), expected="a file whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module      # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(field, str(path), expected="a Python file that runs",
                          hint=f"{type(error).__name__}: {error}") from error
    return module
