"""`look`: the abilities of a class that is known by name, found in a child process: this one does not import it.

What was found is kept on disk, under a hash of the name and of its source file, together with hashes of the files of
the base classes; a file with another content is looked at again.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import inspect
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weft.architectures.registry import is_description
from weft.errors import ConfigError
from weft.extend.model_api import MODEL_API
from weft.extend.named_object import load_named
from weft.models.interface_check import check_class
from weft.models.registry.model_info import ModelInfo
from weft.resolve.sources.environment import cache_root
from weft.version import __version__

logger = logging.getLogger("weft")
_LIMIT_S = 600.0      # seconds that a child may take to import a module
_BOOT = ("import sys; module, name, answer, *sys.path = sys.argv[1:]; "
         "from weft.models.registry.look import answer_in_child; answer_in_child(module, name, answer)")


def look(module_name: str, class_name: str) -> ModelInfo | None:
    """The abilities of a class; None for a description, which can only be asked in this process.

    ConfigError as the child's: a module that breaks, a class that does not fit.
    """
    source = source_of(module_name)
    kept = None if source is None else _kept_file(module_name, class_name, source)
    answer = None if kept is None else _read(kept)
    if answer is None:
        answer = _ask_child(module_name, class_name)
        if kept is not None:
            _write(kept, answer)
    return _info(answer)


def source_of(module_name: str) -> Path | None:
    """The file of a module, found without importing the module or its packages; None if there is none."""
    if module_name.endswith(".py"):
        return Path(module_name) if Path(module_name).is_file() else None
    top, *rest = module_name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):      # ValueError: a loaded module without a spec
        return None
    name = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, spec.submodule_search_locations)
    origin = None if spec is None else spec.origin
    return Path(origin) if origin and Path(origin).is_file() else None


def answer_in_child(module_name: str, class_name: str, answer: str) -> None:
    """What the child process does: write what it found, or the error, into the file `answer`."""
    try:
        found = _answer(load_named(f"{module_name}:{class_name}", field="register_model"))
    except ConfigError as error:
        found = {"error": {"field": error.field, "value": str(error.value), "expected": error.expected,
                           "hint": error.hint, "source": error.source}}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


def _answer(model: Any) -> dict[str, Any]:
    if is_description(model):
        return {"info": None, "files": _hashes([inspect.getsourcefile(model)])}
    cls = check_class(model, field="register_model")
    files = [_source_file(base) for base in cls.__mro__ if base.__module__.split(".")[0] not in ("torch", "builtins")]
    return {"info": asdict(ModelInfo.from_model_cls(cls)), "files": _hashes(files)}


def _source_file(cls: type) -> str | None:
    try:
        return inspect.getsourcefile(cls)
    except TypeError:      # a class written in C
        return None


def _ask_child(module_name: str, class_name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="weft-look-") as folder:
        answer = Path(folder) / "answer.json"
        why = _run([_BOOT, module_name, class_name, str(answer), *sys.path])
        if not answer.is_file():
            raise ConfigError("register_model", f"{module_name}:{class_name}", expected="a module that can be imported",
                              hint=f"The process that imported it {why}")
        found = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise ConfigError(**found["error"])
    return found


def _run(arguments: list[str]) -> str:
    """Run Python with a program and its arguments. Returns how it ended, in words."""
    try:
        ended = subprocess.run([sys.executable, "-c", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                               text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"was ended after {_LIMIT_S:g} s."
    last = (ended.stderr.strip().splitlines() or ["It printed nothing."])[-1]
    return f"ended with {ended.returncode}: {last}"


def _kept_file(module_name: str, class_name: str, source: Path) -> Path:
    key = "\0".join((__version__, str(MODEL_API), str(source), class_name, module_name))
    digest = hashlib.sha256(key.encode() + source.read_bytes()).hexdigest()
    return cache_root() / "models" / f"{digest}.json"


def _hashes(files: Iterable[str | None]) -> dict[str, str]:
    return {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in dict.fromkeys(files)
            if file is not None and Path(file).is_file()}


def _read(kept: Path) -> dict[str, Any] | None:
    """What was found before; None if nothing was, or a file of it has changed since, or the note cannot be read."""
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        _info(found)
        return found if _hashes(found["files"]) == found["files"] else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _info(answer: dict[str, Any]) -> ModelInfo | None:
    return None if answer["info"] is None else ModelInfo(**answer["info"])


def _write(kept: Path, answer: dict[str, Any]) -> None:
    """Keep the answer. Another process may write the same file, so a whole one takes the name at once."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        whole = kept.with_suffix(f".{os.getpid()}")
        whole.write_text(json.dumps(answer), encoding="utf-8")
        whole.replace(kept)
    except OSError as error:
        logger.warning("%s cannot be written (%s): models given by name are looked at anew each time", kept, error)
