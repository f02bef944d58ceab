"""The modules `vllm` and `vllm.…`: their attributes are weft's objects, looked up when they are asked for."""

from __future__ import annotations

import importlib
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from weft.compat.vllm.asker import asker
from weft.compat.vllm.placeholder import Placeholder, later_class, refuse
from weft.compat.vllm.table import module_paths, names, whole_modules
from weft.compat.vllm.tables.later import later_reason
from weft.compat.vllm.version import ANSWER, version_tuple

_VERSIONS = {"__version__": lambda: ANSWER.version, "version": lambda: ANSWER.version,
             "__version_tuple__": lambda: version_tuple(ANSWER.version),
             "version_tuple": lambda: version_tuple(ANSWER.version)}
_VERSION_PATHS = ("vllm.version", "vllm._version")


class VllmModule(ModuleType):
    """One module of vLLM. Its submodules and names come into being when they are asked for."""

    def __init__(self, path: str) -> None:
        super().__init__(path, f"weft's answers to names of {path}.")
        self.__dict__.update(__path__=[], __file__=None, __spec__=ModuleSpec(path, None, is_package=True))

    def __getattr__(self, name: str) -> Any:
        path = self.__name__
        if name in _VERSIONS and (path in _VERSION_PATHS or (path == "vllm" and name.startswith("__"))):
            return _VERSIONS[name]()
        if name == "__all__":
            return sorted(self._public_names()) or refuse(f"{path}.*", "imported", asker())
        if name.startswith("__"):
            raise AttributeError(f"module {path!r} has no attribute {name!r}")
        value = self._find(name)
        if not isinstance(value, Placeholder):      # a placeholder knows the line that asked for it
            self.__dict__[name] = value
        return value

    def _find(self, name: str) -> Any:
        path = self.__name__
        if (path, name) in names():
            return resolve(names()[path, name])
        for whole in whole_modules().get(path, ()):
            if hasattr(importlib.import_module(whole), name):
                return resolve(f"{whole}:{name}")
        if f"{path}.{name}" in module_paths() or f"{path}.{name}" in _VERSION_PATHS:
            return VllmModule(f"{path}.{name}")
        asked, reason = asker(), later_reason(path, name)
        if asked.has_substitute(name):
            raise AttributeError(f"weft has no {path}.{name}, and {asked} has a substitute")
        if reason is not None:
            return later_class(path, name, reason)
        return Placeholder(f"{path}.{name}", asked)

    def _public_names(self) -> set[str]:
        """What `import *` gives: the table's names, and those of a whole module."""
        path = self.__name__
        found = {name for key, name in names() if key == path}
        for whole in whole_modules().get(path, ()):
            found |= {name for name in vars(importlib.import_module(whole)) if not name.startswith("_")}
        return found - {"annotations"}

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, VllmModule) or name.startswith("__"):
            self.__dict__[name] = value      # Python's import machinery does both
            return
        refuse(f"{self.__name__}.{name}", "patched", asker(),
               reason="weft's own modules never look here, so a patch would do nothing")

    def __repr__(self) -> str:
        return f"<module {self.__name__!r} of weft's compat layer>"


def resolve(target: str) -> Any:
    """The object of "weft.module:Name"."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def submodule(root: VllmModule, path: str) -> VllmModule:
    """The module at `path` below root, `vllm`; a path that the table does not know is a module of placeholders."""
    found = root
    for part in path.split(".")[1:]:
        inner = found.__dict__.get(part)
        if not isinstance(inner, VllmModule):
            inner = VllmModule(f"{found.__name__}.{part}")
            found.__dict__.setdefault(part, inner)
        found = inner
    return found
