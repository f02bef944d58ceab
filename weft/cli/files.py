"""Files that options name: texts to read, and results, whose place is checked before the work that they hold."""

from __future__ import annotations

import os
from pathlib import Path

from weft.errors import ConfigError


def read_text(option: str, path: str | Path, *, expected: str) -> str:
    """The UTF-8 text of a file, without a byte order mark. ConfigError names `option` and says what was expected."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(option, str(path), expected=expected, hint=f"{reason}.") from error


def check_output(option: str, path: str | Path) -> None:
    """ConfigError, naming `option`, if the file could not be written. The file is not touched."""
    place = Path(path).resolve()
    fault = ("It is a directory" if place.is_dir() else
             f"{place.parent} is no directory that exists" if not place.parent.is_dir() else
             None if os.access(place if place.exists() else place.parent, os.W_OK) else "Permission denied")
    if fault:
        raise ConfigError(option, str(path), expected="a file that can be written", hint=f"{fault}.")
