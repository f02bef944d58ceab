"""`answering()`: while it lasts, plugins and model files that are loaded get weft's objects from `import vllm…`.

A file loaded under it keeps that access for imports in its functions; every other module of the process sees nothing.
So each such file has its own `__import__`, and `sys.modules` is left as it was.
"""

from __future__ import annotations

import builtins
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

from weft.compat.vllm.asker import asker
from weft.compat.vllm.modules import VllmModule, submodule
from weft.compat.vllm.table import module_paths
from weft.compat.vllm.version import ANSWER, is_installed

logger = logging.getLogger("weft")


def is_vllm(name: str) -> bool:
    """Whether a module's name is `vllm` or lies below it."""
    return name == "vllm" or name.startswith("vllm.")


@cache
def root() -> VllmModule:
    """The module `vllm` of this process."""
    return VllmModule("vllm")


def _import(name: str, globals: Mapping[str, Any] | None = None, locals: Mapping[str, Any] | None = None,
            fromlist: Sequence[str] | None = (), level: int = 0) -> ModuleType:
    """`__import__` of a file that was loaded under `answering()`."""
    if level or not is_vllm(name):
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    module = submodule(root(), name)
    return module if fromlist else root()


def give_access(module: ModuleType) -> None:
    """Let `import vllm…` in the module, which has not run yet, mean weft's modules for as long as the module lives."""
    if ANSWER.is_weft:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}


class _SourceLoader(SourceFileLoader):
    """Runs a file that mentions vllm, with access to weft's answers."""

    def exec_module(self, module: ModuleType) -> None:
        give_access(module)
        super().exec_module(module)


class _VllmLoader(Loader):
    """Gives importlib the modules of `root()`."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return submodule(root(), spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


class _Finder(MetaPathFinder):
    """First of `sys.meta_path` while `answering()` lasts."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
                  ) -> ModuleSpec | None:
        if is_vllm(fullname):
            return ModuleSpec(fullname, _VllmLoader(), is_package=True)
        for finder in sys.meta_path:
            found = None if finder is self else finder.find_spec(fullname, path, target)
            if found is not None:
                if type(found.loader) is SourceFileLoader and _mentions_vllm(found.loader):
                    found.loader = _SourceLoader(found.loader.name, found.loader.path)
                return found
        return None


def _mentions_vllm(loader: SourceFileLoader) -> bool:
    try:
        return b"vllm" in loader.get_data(loader.path)
    except OSError:
        return False


class _ScriptFinder(MetaPathFinder):
    """Finds modules of vllm for every importer of the process."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
                  ) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        if not is_vllm(fullname) or (fullname not in module_paths() and asker().has_substitute(name)):
            return None      # `from vllm.x import name`, of a script that says itself what to do without the name
        return ModuleSpec(fullname, _VllmLoader(), is_package=True)


def install() -> VllmModule:
    """From now on, `import vllm…` anywhere in the process means weft's modules. Returns the module `vllm`."""
    if not any(isinstance(finder, _ScriptFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ScriptFinder())
    sys.modules["vllm"] = root()
    return root()


@contextmanager
def answering() -> Iterator[None]:
    """Modules that are imported meanwhile, and mention vllm, see weft's modules. With the installed vLLM: nothing."""
    if not ANSWER.is_weft:
        if ANSWER.source == "auto":
            _say_installed()
        yield
        return
    finder = _Finder()
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if is_vllm(name)}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if is_vllm(name)]:
            del sys.modules[name]
        sys.modules.update(hidden)


@cache
def _say_installed() -> None:
    assert is_installed()
    logger.warning("vLLM is installed, so `import vllm` in plugins and model files means the installed one, whose "
                   "layers weft cannot run; vllm_modules=\"weft\" (--vllm-modules weft) gives weft's.")
