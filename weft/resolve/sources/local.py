"""Names that mean a directory on this machine, and errors for paths that do not exist. Opens no socket."""

from __future__ import annotations

import json
from pathlib import Path

from weft.errors import ConfigError

_SUFFIXES = (".safetensors", ".bin", ".gguf", ".json", ".pt")


def local_directory(name: str, field: str) -> Path | None:
    """The directory of this name; None for a name that may be a hub id.

    ConfigError for a file, and for a name that looks like a path and does not exist.
    """
    if not name.strip():
        raise ConfigError(field, name, expected="a directory or a hub id")
    try:
        path = Path(name).expanduser()
        is_directory, exists = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:       # name too long, or unknown home directory
        raise ConfigError(field, name, expected="a directory or a hub id", hint=f"{error}.") from error
    if is_directory:
        return path.resolve()
    if exists:
        raise ConfigError(field, name, expected="a directory or a .gguf file",
                          hint=f"Pass its directory: {path.parent}.")
    if looks_like_path(name):
        raise not_there(name, field)
    return None


def not_there(name: str, field: str) -> ConfigError:
    """The error for a path that does not exist; it names the deepest parent that does."""
    absolute = Path(name).expanduser().absolute()
    parent = next((p for p in absolute.parents if p.exists()), absolute.anchor)
    return ConfigError(field, name, expected="a directory that exists",
                       hint=f"{absolute} does not exist ({parent} does).")


def looks_like_path(name: str) -> bool:
    """True for a name that cannot be a hub id."""
    return name.startswith(("/", "./", "../", "~", ".\\", "\\")) or name.endswith("/") or name.count("/") > 1 or (
        Path(name).suffix in _SUFFIXES)


def redirected(name: str, file: str | None) -> str:
    """The path that a redirect file gives for this name; the name itself if the file has no entry or there is no file.

    file: a JSON object {name: path}, or lines `name path`, separated by white space. ConfigError if unreadable.
    """
    if file is None:
        return name
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("WEFT_MODEL_REDIRECT_PATH", file, expected="a readable file", source="environment",
                          hint=f"{error}.") from error
    try:
        table = json.loads(text)
    except json.JSONDecodeError:
        table = {pair[0]: pair[1] for line in text.splitlines() if len(pair := line.split(None, 1)) == 2}
    if not isinstance(table, dict):
        raise ConfigError("WEFT_MODEL_REDIRECT_PATH", file, source="environment",
                          expected="an object {name: path}, or a line `name path` for each")
    return str(table.get(name, name)).strip()
