"""Lists the files of a model, and reads small ones, whether the model is a directory or a repository on a hub.

The functions have vLLM's names. They find files through `sources/`, as the engine does, with the same revisions,
offline use, tokens, ModelScope and errors. A name that is a directory is never looked up on the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weft.errors import ConfigError
from weft.resolve.json_file import read_json
from weft.resolve.sources import environment
from weft.resolve.sources.find import find_local, open_repository
from weft.resolve.sources.local import redirected
from weft.resolve.sources.repository import Access, Repository, Request


def list_repo_files(repo_id: str | Path, *, revision: str | None = None, repo_type: str | None = None,
                    token: str | None = None) -> list[str]:
    """Names of all files in a directory or a model's repository, with "/" separators; offline: the cached files."""
    if repo_type not in (None, "model"):
        raise ConfigError("repo_type", repo_type, expected="model")
    place = _open(repo_id, revision, token)
    if isinstance(place, Path):
        return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    return sorted(place.names)


def file_or_path_exists(model: str | Path, config_name: str, revision: str | None = None) -> bool:
    """Whether a directory or a repository has the file; offline: whether the cache has it."""
    place = _open(model, revision, None)
    return (place / config_name).is_file() if isinstance(place, Path) else config_name in place.names


def try_get_local_file(model: str | Path, file_name: str, revision: str | None = "main") -> Path | None:
    """The file's path in a directory or in the hub's cache; None when neither has it."""
    root = Path(model).expanduser()
    if root.is_dir():
        return root / file_name if (root / file_name).is_file() else None
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        cached = huggingface_hub.try_to_load_from_cache(str(model), file_name, revision=revision)
    except HFValidationError:      # not a valid repository name
        return None
    return Path(cached) if isinstance(cached, str) else None


def get_hf_file_to_dict(file_name: str, model: str | Path, revision: str | None = None,
                        token: str | None = None) -> dict[str, Any] | None:
    """The object in a JSON file of a directory or a repository; None when there is no such file.

    ConfigError names a file that is not JSON.
    """
    place = _open(model, revision, token)
    if not isinstance(place, Path):
        if file_name not in place.names:
            return None
        place = place.fetch([file_name]).directory
    return read_json(place / file_name) if (place / file_name).is_file() else None


def _open(model: str | Path, revision: str | None, token: str | None) -> Path | Repository:
    """The directory or the repository that a name means. ConfigError says where it was looked for."""
    name = redirected(str(model), environment.redirect_file())
    local = find_local(name)
    if local is not None:
        return local.directory
    return open_repository(Request(name=name, repo_id=name, revision=revision, field="model",
                                   access=Access(token=token)))
