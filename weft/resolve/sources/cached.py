"""Lists and removes cached models of the Hugging Face hub and of ModelScope. Opens no socket."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import CacheNotFound

from weft.resolve.sources.modelscope import client_library


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedModel:
    """One revision of a model on this disk.

    revision: the commit, or ModelScope's name of the revision. refs: branches and tags that point to it. size_bytes:
    bytes of its files; revisions of one hub model share equal files on disk. last_used: seconds since 1970.
    """

    name: str
    source: str
    revision: str
    refs: tuple[str, ...]
    size_bytes: int
    num_files: int
    last_used: float
    path: Path


def cached_models(download_dir: str | None = None) -> list[CachedModel]:
    """All cached models, sorted by name. download_dir: the folder to look in instead of the sources' own caches."""
    return sorted([*_of_the_hub(download_dir), *_of_modelscope(download_dir)],
                  key=lambda model: (model.name.lower(), model.source, -model.last_used))


def remove(models: Sequence[CachedModel], download_dir: str | None = None) -> int:
    """Delete these revisions; files that other revisions of a model use stay. Returns the number of bytes freed."""
    freed = 0
    for name in {model.name for model in models if model.source == "hub"}:
        info = huggingface_hub.scan_cache_dir(download_dir or constants.HF_HUB_CACHE)
        own = frozenset(repo for repo in info.repos if (repo.repo_type, repo.repo_id) == ("model", name))
        commits = [model.revision for model in models if (model.source, model.name) == ("hub", name)]
        plan = replace(info, repos=own).delete_revisions(*commits)       # a forked repository may have equal commits
        freed += plan.expected_freed_size
        plan.execute()
    for model in models:
        if model.source == "modelscope":
            shutil.rmtree(model.path)
            freed += model.size_bytes
            if not any(model.path.parent.iterdir()):
                shutil.rmtree(model.path.parent.parent)      # no revision is left
    return freed


def _of_the_hub(download_dir: str | None) -> list[CachedModel]:
    try:
        info = huggingface_hub.scan_cache_dir(download_dir or constants.HF_HUB_CACHE)
    except (CacheNotFound, ValueError):      # ValueError: the path is a file
        return []
    return [CachedModel(name=repo.repo_id, source="hub", revision=revision.commit_hash, path=revision.snapshot_path,
                        refs=tuple(sorted(revision.refs)), size_bytes=revision.size_on_disk,
                        num_files=len(revision.files),
                        last_used=max((file.blob_last_accessed for file in revision.files), default=0.0))
            for repo in info.repos if repo.repo_type == "model" for revision in repo.revisions]


def _of_modelscope(download_dir: str | None) -> list[CachedModel]:
    if importlib.util.find_spec("modelscope_hub") is None:
        return []
    root = Path(download_dir or client_library("download_dir", download_dir).HubConfig().cache_dir)
    return [_modelscope_revision(path) for path in root.glob("models/*--*/snapshots/*") if path.is_dir()]


def _modelscope_revision(path: Path) -> CachedModel:
    stats = [file.stat() for file in path.rglob("*") if file.is_file()]
    return CachedModel(name=path.parent.parent.name.replace("--", "/", 1), source="modelscope", revision=path.name,
                       refs=(), size_bytes=sum(stat.st_size for stat in stats), num_files=len(stats), path=path,
                       last_used=max((stat.st_atime for stat in stats), default=0.0))
