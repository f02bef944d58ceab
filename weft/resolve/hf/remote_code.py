"""`load_remote_class`: the one way to run Python code that comes with a checkpoint. It logs which file it runs.

Callers ask for trust (`trust_remote_code`) before they call.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from weft.errors import ConfigError

logger = logging.getLogger("weft")


def load_remote_class(reference: str, model: str, *, field: str, revision: str | None = None,
                      code_revision: str | None = None) -> Any:
    """A class by its reference, "file.Class" or "repository--file.Class". model: directory or hub id.

    field: the config's key, for errors.
    ConfigError when the reference names no class of a file, and when the file cannot be imported.
    """
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    place, _, name = reference.rpartition("--")
    module, _, cls = name.rpartition(".")
    if not module or not all(part.isidentifier() for part in (*module.split("."), cls)):
        raise ConfigError(field, reference, expected='"file.Class" or "repository--file.Class"', source=model)
    file, is_local = f"{module.replace('.', '/')}.py", not place and Path(model).is_dir()
    where = (Path(model) / file).resolve() if is_local else Path(place or model) / file
    if is_local and not where.is_file():
        raise ConfigError(field, reference, expected=f"the class of a file of the checkpoint; there is no {where}",
                          source=model)
    logger.warning("runs code of the checkpoint: %s, revision %s, for %s = %s (trust_remote_code)", where,
                   code_revision or revision or _snapshot(Path(model)) or "of the local directory", field, reference)
    try:
        return get_class_from_dynamic_module(reference, model, revision=revision, code_revision=code_revision)
    except (Exception, SystemExit) as error:
        raise ConfigError(field, reference, expected="a class that can be imported", source=model,
                          hint=f"{type(error).__name__}: {error}") from error


def _snapshot(directory: Path) -> str | None:
    """The commit of a directory in a hub cache, whose folder is named by it."""
    return directory.name if directory.parent.name == "snapshots" else None
