"""ModelScope: a repository's files as given by one listing, fetched into modelscope_hub's own cache.

Used instead of the hub when WEFT_USE_MODELSCOPE is on. ModelScope's client names no commits. Instead, every download is
checked against the SHA-256 in the listing, so that one model never mixes two states. Without a connection, or with
HF_HUB_OFFLINE, the cache answers. The client retries by itself, so `Backoff` is not used.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from huggingface_hub import constants

from weft.errors import ConfigError
from weft.resolve.sources import messages
from weft.resolve.sources.repository import Fetched, Request

logger = logging.getLogger(__name__)
DEFAULT_REVISION = "master"


@dataclass(frozen=True, slots=True)
class ModelScopeRepository:
    """A revision that ModelScope has listed. files: {name: its Path, Size (bytes) and Sha256}. cached: its folder in
    the cache, or None.
    """

    request: Request
    client: Any                       # modelscope_hub.HubApi
    files: Mapping[str, Mapping[str, Any]]
    cached: Path | None
    source: str = "modelscope"
    commit: None = None
    is_complete: bool = True

    @property
    def names(self) -> frozenset[str]:
        """All files of the revision."""
        return frozenset(self.files)

    def fetch(self, names: Collection[str]) -> Fetched:
        """Download the files that the cache lacks or has in another state."""
        cache = _cache_dir(self.request, self.client)
        before = {name: _changed_ns(self.cached, name) for name in names}
        _check_space(self.request, cache, sum(self.files[name]["Size"] for name in names if before[name] is None))
        revision = self.request.revision or DEFAULT_REVISION
        try:
            directory = Path(self.client.download_repo(
                self.request.repo_id, "model", revision=revision, cache_dir=self.request.access.download_dir,
                file_list=[dict(self.files[name]) for name in names]))
        except KeyboardInterrupt as error:
            raise messages.interrupted(self.request, cache) from error
        except Exception as error:
            raise _explained(error, self.request, self.client) from error
        url = f"{_url(self.request, self.client)}/resolve/{revision}"
        return Fetched(directory, {name: "cache" if _changed_ns(directory, name) == before[name] else f"{url}/{name}"
                                   for name in names})


@dataclass(frozen=True, slots=True)
class CachedModelScopeRepository:
    """The cached files of a repository, when ModelScope is not asked or does not answer. why: the reason."""

    request: Request
    directory: Path
    cache: Path
    why: str
    source: str = "modelscope"
    commit: None = None
    is_complete: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The files in the cache."""
        return frozenset(path.relative_to(self.directory).as_posix() for path in self.directory.rglob("*")
                         if path.is_file() and path.suffix != ".incomplete")

    def fetch(self, names: Collection[str]) -> Fetched:
        """Download nothing. ConfigError names missing files."""
        missing = {name for name in names if not (self.directory / name).is_file()}
        if missing:
            raise messages.not_cached(self.request, missing, self.cache, self.why)
        return Fetched(self.directory, dict.fromkeys(names, "cache"))


def open_modelscope(request: Request) -> ModelScopeRepository | CachedModelScopeRepository:
    """The repository at a revision. ConfigError says what was tried and what to do."""
    library = client_library(request.field, request.name)
    client = library.HubApi(library.HubConfig())
    if constants.HF_HUB_OFFLINE:
        return _cached(request, client, "HF_HUB_OFFLINE forbids to download it")
    try:
        client = library.HubApi(library.HubConfig(endpoint=client.resolve_endpoint_for_read(request.repo_id)))
        listing = client.list_repo_files(request.repo_id, "model", revision=request.revision or DEFAULT_REVISION)
    except KeyboardInterrupt as error:
        raise messages.interrupted(request, _cache_dir(request, client)) from error
    except (library.NetworkError, library.ServerError, library.RateLimitError) as error:
        reason = f"ModelScope could not be reached ({type(error).__name__})"
        found = _cached(request, client, reason)
        logger.warning("%s; %s is taken from the cache", reason, request.repo_id)
        return found
    except Exception as error:
        raise _explained(error, request, client) from error
    files = {file.path: {"Path": file.path, "Size": file.size, "Sha256": file.sha256}
             for file in listing if not file.is_dir}
    return ModelScopeRepository(request, client, files, _cached_directory(request, client))


def client_library(field: str, value: object) -> ModuleType:
    """ModelScope's client library. ConfigError about `field` when it is not installed."""
    try:
        return importlib.import_module("modelscope_hub")
    except ImportError as error:
        raise ConfigError(field, value, expected="the package modelscope, because WEFT_USE_MODELSCOPE is set",
                          hint="Install it with `pip install 'weft[modelscope]'`, or unset WEFT_USE_MODELSCOPE.") \
            from error


def _cached(request: Request, client: Any, why: str) -> CachedModelScopeRepository:
    cache, directory = _cache_dir(request, client), _cached_directory(request, client)
    if directory is None:
        raise messages.not_cached(request, (), cache, why)
    return CachedModelScopeRepository(request, directory, cache, why)


def _cached_directory(request: Request, client: Any) -> Path | None:
    try:
        return Path(client.download_repo(request.repo_id, "model", revision=request.revision, local_files_only=True,
                                         cache_dir=request.access.download_dir))
    except client_library(request.field, request.name).CacheNotFound:
        return None


def _cache_dir(request: Request, client: Any) -> Path:
    configured = client_library(request.field, request.name).HubConfig().cache_dir
    return Path(request.access.download_dir or configured).expanduser().absolute()


def _changed_ns(directory: Path | None, name: str) -> int | None:
    path = directory / name if directory else None
    return path.stat().st_mtime_ns if path and path.is_file() else None


def _check_space(request: Request, cache: Path, need: int) -> None:
    free = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.exists())).free
    if need > free:
        raise messages.disk_full(request, cache, need, free)


def _explained(error: Exception, request: Request, client: Any) -> Exception:
    """The error to show the user for an error of modelscope_hub."""
    library = client_library(request.field, request.name)
    url = _url(request, client)
    token = "A token is looked for in MODELSCOPE_API_TOKEN, then where `modelscope login` keeps it."
    if isinstance(error, library.FileDownloadError) and (failed := getattr(error, "failed_files", None)):
        return _explained(next(iter(failed.values())), request, client)
    if messages.is_disk_full(error):
        return messages.disk_full(request, _cache_dir(request, client), None, None)
    if isinstance(error, (library.AuthenticationError, library.PermissionDeniedError)):
        return messages.no_access(request, url, token, is_gated=False)
    if isinstance(error, library.NotExistError):
        known = _known_revisions(request, client)
        if known is not None and request.revision is not None and request.revision not in known:
            return messages.no_revision(request, url, known)
        return messages.not_found(request, url, token)
    return messages.unreadable(request, url, error)


def _known_revisions(request: Request, client: Any) -> list[str] | None:
    """Branches and tags; None when the repository does not exist."""
    try:
        found = client.list_repo_revisions(request.repo_id, "model")
    except client_library(request.field, request.name).HubError:
        return None
    return [str(entry.get("Revision") or entry.get("name")) for entry in found]


def _url(request: Request, client: Any) -> str:
    return f"{client.legacy.endpoint}/models/{request.repo_id}"
