"""Reads a model's JSON files. Errors name the file, and the line and column of a syntax error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weft.errors import ConfigError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. ConfigError names the file, and the line and column of a syntax error."""
    value = _read(path)
    if not isinstance(value, dict):
        raise ConfigError(path.name, value, expected="a JSON object ({...})", source=str(path))
    return value


def read_json_list(path: Path) -> list[Any]:
    """The list in a JSON file. Errors as in `read_json`."""
    value = _read(path)
    if not isinstance(value, list):
        raise ConfigError(path.name, value, expected="a JSON list ([...])", source=str(path))
    return value


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(path.name, None, expected=f"a file at {path}", hint="It is missing.") from None
    except OSError as error:
        raise ConfigError(path.name, str(path), expected="a file that can be read",
                          hint=f"{error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise ConfigError(path.name, _excerpt(error), expected="valid JSON", source=str(path),
                          hint=f"Line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path.name, error.object[error.start:error.start + 8], expected="UTF-8 text", source=str(path),
                          hint=f"Byte {error.start} is not.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(path.name, "…", expected="JSON of sane size", source=str(path), hint=f"{error}.") from error


def read_json_if_there(path: Path) -> dict[str, Any]:
    """The object in an optional JSON file; {} when the file does not exist."""
    return read_json(path) if path.exists() else {}


def _excerpt(error: json.JSONDecodeError) -> str:
    return error.doc[max(0, error.pos - 20):error.pos + 20]
