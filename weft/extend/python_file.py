"""Loads a user's Python file (a model description, a config parser) as a module.

Knows nothing about the file's content.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from weft.compat.vllm.finder import answering, give_access
from weft.errors import ConfigError, DescriptionError
from weft.extend.user_frame import told_with_place, with_line


def load_python_file(path: Path, *, field: str) -> ModuleType:
    """Run the file and return it as a module. ConfigError naming `field` if it is no Python file or raises."""
    path = path.expanduser()
    if not path.is_file():
        raise ConfigError(field, str(path), expected="a Python file that exists",
                          hint=f"{path.absolute()} {'is a directory' if path.is_dir() else 'does not exist'}.")
    name = f"weft_{field}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(field, str(path), expected="a file whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module      # the dataclass decorator looks its module up in sys.modules
    give_access(module)
    try:
        with answering():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:      # a script that calls sys.exit would end the engine without a word
        del sys.modules[name]
        if isinstance(error, DescriptionError):
            raise with_line(str(path), error) from error
        raise ConfigError(field, str(path), expected="a Python file that runs",
                          hint=told_with_place(error)) from error
    return module
