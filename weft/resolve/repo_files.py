"""Files of a repository by name, whether it is a directory or on the hub: which there are, and small ones read.

Under the names that vLLM gives these functions. Knows no file's meaning; a directory is never looked up on the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weft.resolve.json_file import read_json

_MAX_DEPTH = 2      # folders of a directory that are listed


def list_repo_files(repo_id: str | Path, *, revision: str | None = None, repo_type: str | None = None,
                    token: str | None = None) -> list[str]:
    """Names of all files, with slashes, of a directory or of a repository on the hub."""
    root = Path(repo_id).expanduser()
    if root.is_dir():
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    import huggingface_hub

    return sorted(huggingface_hub.list_repo_files(str(repo_id), revision=revision, repo_type=repo_type, token=token))


def list_files(model: str | Path, *, revision: str | None = None, token: str | None = None) -> list[str]:
    """The same for a model, of a directory only what is in it or one folder below; offline what the cache has."""
    root = Path(model).expanduser()
    if not root.is_dir():
        import huggingface_hub
        from huggingface_hub import constants

        if not constants.HF_HUB_OFFLINE:
            return list_repo_files(model, revision=revision, token=token)
        root = Path(huggingface_hub.snapshot_download(str(model), revision=revision, local_files_only=True))
    patterns = ["/".join(["*"] * depth) for depth in range(1, _MAX_DEPTH + 1)]
    return sorted(path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern)
                  if path.is_file())


def file_or_path_exists(model: str | Path, config_name: str, revision: str | None = None) -> bool:
    """Whether a directory, the hub's cache or the hub has the file; offline only the first two are asked."""
    if Path(model).expanduser().is_dir():
        return (Path(model).expanduser() / config_name).is_file()
    import huggingface_hub
    from huggingface_hub import constants

    if try_get_local_file(model, config_name, revision) is not None:
        return True
    return not constants.HF_HUB_OFFLINE and huggingface_hub.file_exists(str(model), config_name, revision=revision)


def try_get_local_file(model: str | Path, file_name: str, revision: str | None = "main") -> Path | None:
    """The file's path in a directory or in the hub's cache; None when neither has it."""
    root = Path(model).expanduser()
    if root.is_dir():
        return root / file_name if (root / file_name).is_file() else None
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        cached = huggingface_hub.try_to_load_from_cache(str(model), file_name, revision=revision)
    except HFValidationError:      # a name that no repository can have
        return None
    return Path(cached) if isinstance(cached, str) else None


def get_hf_file_to_dict(file_name: str, model: str | Path, revision: str | None = "main",
                        token: str | None = None) -> dict[str, Any] | None:
    """The object in a JSON file of a directory or a repository; None when it has no such file.

    ConfigError naming the file when it is not JSON.
    """
    path = try_get_local_file(model, file_name, revision)
    if path is None:
        if not file_or_path_exists(model, file_name, revision):
            return None
        import huggingface_hub

        path = Path(huggingface_hub.hf_hub_download(str(model), file_name, revision=revision, token=token))
    return read_json(path)
