"""The models that a server may load, by name: those in a folder, and those that a file lists."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from weft.errors import ConfigError
from weft.resolve.gguf.files import gguf_models

_CONFIGS = ("config.json", "params.json")      # a folder with one of these is a checkpoint


def models_in_folder(folder: str) -> dict[str, str]:
    """{name: path} of the checkpoints and GGUF files in `folder`; those of a folder without files of its own are named
    `folder/name`. ConfigError if there are none, or two of one name.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ConfigError("model_dir", folder, expected="a folder of checkpoints and GGUF files")
    if _is_checkpoint(root):
        raise ConfigError("model_dir", folder, expected="a folder of checkpoints",
                          hint=f"It is a checkpoint itself: `weft serve {folder}` serves it.")
    found = _models_of(root, depth=2)
    if not found:
        raise ConfigError("model_dir", folder, expected="a folder of checkpoints (folders with a config.json) and "
                          "GGUF files", hint="It has none.")
    return found


def models_in_file(path: str) -> list[dict[str, Any]]:
    """The entries of a TOML, JSON or YAML file with a list `models`: each an object with `name`, `model`, perhaps
    options. A relative path in `model` that exists is taken from the file's folder. ConfigError for another content.
    """
    file = Path(path).expanduser()
    content = _parsed(file, path)
    entries = content.get("models") if isinstance(content, dict) and set(content) == {"models"} else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError("models", path, expected="a file with one list, models, of objects with name and model")
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
            raise ConfigError(f"models[{i}]", entry, expected="an object with a name", source=path)
        model = entry.get("model")
        if not isinstance(model, str) or not model:
            raise ConfigError(f"models[{i}] ({entry['name']}).model", model, source=path,
                              expected="the model's name or path", hint="Only weft serve without models has a default.")
        if (file.parent / model).exists():
            entry["model"] = str(file.parent / model)
    return entries


def _is_checkpoint(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _CONFIGS)


def _models_of(folder: Path, *, depth: int) -> dict[str, str]:
    found = {name: str(folder / file) for name, file in _ggufs(folder).items()}
    for path in (path for path in _inside(folder) if path.is_dir() and not path.name.startswith(".")):
        if _is_checkpoint(path) or len(_ggufs(path)) == 1:
            if path.name in found:
                raise ConfigError("model_dir", str(folder), expected=f"one model named {path.name!r}",
                                  hint=f"There are {found[path.name]} and {path}: rename one.")
            found[path.name] = str(path)
        elif depth > 1:
            found |= {f"{path.name}/{name}": place for name, place in _models_of(path, depth=depth - 1).items()}
    return found


def _ggufs(folder: Path) -> dict[str, str]:
    return gguf_models(path.name for path in _inside(folder) if path.is_file())


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError("model_dir", str(folder), expected="folders that can be read",
                          hint=f"{error.strerror}.") from error


def _parsed(file: Path, path: str) -> Any:
    import yaml

    readers = {".toml": tomllib.loads, ".json": json.loads, ".yaml": yaml.safe_load, ".yml": yaml.safe_load}
    read = readers.get(file.suffix.lower())
    if read is None:
        raise ConfigError("models", path, expected="a .toml, .json, .yaml or .yml file")
    try:
        return read(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError("models", path, expected="a file that can be read", hint=f"{error.strerror}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError("models", path, expected=f"a {file.suffix[1:].upper()} file",
                          hint=f"It cannot be read: {' '.join(str(error).split())}") from error
