"""The Hugging Face hub: a repository pinned to one commit, fetched into huggingface_hub's own cache.

`open_hub` asks the hub once for a revision's commit and files; all later requests use that commit. Without a
connection, or with HF_HUB_OFFLINE, the cache answers. This module knows nothing about file formats.
"""

from __future__ import annotations

import glob
import importlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.file_download import repo_folder_name

from weft.resolve.sources import messages
from weft.resolve.sources.environment import has_token_variable
from weft.resolve.sources.repository import Fetched, Request
from weft.resolve.sources.retry import retry_after_s, with_retries
from weft.resolve.sources.wanted import is_needed

logger = logging.getLogger(__name__)
T = TypeVar("T")
# huggingface_hub 1 uses httpx, 2 uses httpx2. The module of HTTPError, which its errors import, tells which.
_http_error = errors.HTTPError  # pyright: ignore[reportPrivateImportUsage]
_http = importlib.import_module(_http_error.__module__.partition(".")[0])
_PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository on the hub that answered. sizes: {file name: bytes, or None where the hub does not say}."""

    request: Request
    commit: str
    sizes: Mapping[str, int | None]
    source: str = "hub"
    is_complete: bool = True

    @property
    def names(self) -> frozenset[str]:
        """All files of the commit."""
        return frozenset(self.sizes)

    def fetch(self, names: Collection[str]) -> Fetched:
        """Download the files that the cache lacks."""
        folder = _cache_dir(self.request) / repo_folder_name(repo_id=self.request.repo_id, repo_type="model")
        snapshot = folder / "snapshots" / self.commit
        missing = {name for name in names if not (snapshot / name).exists()}
        self._check_space(missing)
        try:
            with_retries(lambda: _snapshot(self.request, self.commit, names), self.request.access.backoff, _wait_for)
        except KeyboardInterrupt as error:
            raise messages.interrupted(self.request, folder) from error
        except Exception as error:
            raise _explained(error, self.request) from error
        _write_ref(folder, self.request.revision or constants.DEFAULT_REVISION, self.commit)
        url = f"{_url(self.request)}/resolve/{self.commit}"
        return Fetched(snapshot, {name: f"{url}/{name}" if name in missing else "cache" for name in names})

    def _check_space(self, names: Collection[str]) -> None:
        cache = _cache_dir(self.request)
        there = next(folder for folder in (cache, *cache.parents) if folder.exists())
        need, free = sum(self.sizes.get(name) or 0 for name in names), shutil.disk_usage(there).free
        if need > free:
            raise messages.disk_full(self.request, cache, need, free)


@dataclass(frozen=True, slots=True)
class CachedRepository:
    """The cached files of a repository, when the hub is not asked or does not answer. why: the reason, for errors."""

    request: Request
    directory: Path
    names: frozenset[str]
    is_complete: bool
    why: str
    source: str = "hub"

    @property
    def commit(self) -> str:
        """The cached commit of the revision."""
        return self.directory.name

    def fetch(self, names: Collection[str]) -> Fetched:
        """Download nothing. ConfigError names missing files, except those that a model may lack (`is_needed`)."""
        there = {name for name in names if (self.directory / name).exists()}
        missing = {name for name in names if name not in there and (is_needed(name) or not self.is_complete)}
        if missing:
            raise messages.not_cached(self.request, missing, _cache_dir(self.request), self.why)
        return Fetched(self.directory, dict.fromkeys(there, "cache"))


def open_hub(request: Request) -> HubRepository | CachedRepository:
    """The repository, with its revision resolved to a commit. ConfigError says what was tried and what to do."""
    if constants.HF_HUB_OFFLINE:
        return _cached(request, "HF_HUB_OFFLINE forbids to download it")
    api = huggingface_hub.HfApi(endpoint=constants.ENDPOINT, token=request.access.token)

    def ask() -> huggingface_hub.ModelInfo:
        return api.model_info(request.repo_id, revision=request.revision, files_metadata=True,
                              timeout=constants.HF_HUB_ETAG_TIMEOUT)

    try:
        info = with_retries(ask, request.access.backoff, _wait_for_answer)
    except KeyboardInterrupt as error:
        raise messages.interrupted(request, _cache_dir(request)) from error
    except Exception as error:
        if not _is_unreachable(error):
            raise _explained(error, request) from error
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        found = _cached(request, f"{constants.ENDPOINT} could not be reached ({reason})")
        logger.warning("%s could not be reached (%s); %s is taken from the cache, commit %s", constants.ENDPOINT,
                       reason, request.repo_id, found.commit)
        return found
    return HubRepository(request, info.sha or "", {file.rfilename: file.size for file in info.siblings or ()})


def is_repo_id(name: str) -> bool:
    """True when the name is valid for a model on the hub."""
    try:
        huggingface_hub.utils.validate_repo_id(name)
    except errors.HFValidationError:
        return False
    return name.count("/") <= 1


def _snapshot(request: Request, commit: str, names: Collection[str]) -> str:
    return huggingface_hub.snapshot_download(
        request.repo_id, revision=commit, cache_dir=request.access.download_dir, token=request.access.token,
        endpoint=constants.ENDPOINT, allow_patterns=[glob.escape(name) for name in names])


def _cached(request: Request, why: str) -> CachedRepository:
    cache = _cache_dir(request)
    try:
        directory = Path(huggingface_hub.snapshot_download(
            request.repo_id, revision=request.revision, cache_dir=cache, local_files_only=True, allow_patterns=[]))
    except errors.LocalEntryNotFoundError as error:
        raise messages.not_cached(request, (), cache, why) from error
    listing = _cached_listing(request, directory.name)
    names = listing or [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
    return CachedRepository(request, directory, frozenset(names), listing is not None, why)


def _cached_listing(request: Request, commit: str) -> list[str] | None:
    """Names of all files of a commit, if huggingface_hub (from version 2) stored them at a download; else None."""
    read: Callable[..., list[huggingface_hub.RepoFile]] | None = getattr(huggingface_hub, "get_cached_repo_tree", None)
    if read is None:
        return None
    try:
        return [file.path for file in read(request.repo_id, revision=commit, cache_dir=_cache_dir(request))]
    except errors.CachedRepoTreeNotFoundError:
        return None


def _write_ref(folder: Path, revision: str, commit: str) -> None:
    """Store in the cache which commit a branch or tag is, for offline use. A read-only cache is only a warning."""
    path = folder / "refs" / revision
    if revision == commit or (path.is_file() and path.read_text() == commit):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(commit)
        temporary.replace(path)
    except OSError as error:
        logger.warning("%s cannot be written (%s): offline, this revision will not be found", path, error)


def _cache_dir(request: Request) -> Path:
    return Path(request.access.download_dir or constants.HF_HUB_CACHE).expanduser().absolute()


def _url(request: Request) -> str:
    return f"{constants.ENDPOINT}/{request.repo_id}"


def _is_unreachable(error: Exception) -> bool:
    if isinstance(error, errors.HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    return isinstance(error, (_http.TransportError, errors.OfflineModeIsEnabled))


def _wait_for_answer(error: Exception) -> float | None:
    """`wait_for` of the first request: an unreachable server is not retried, because the cache may serve instead."""
    away = isinstance(error, (_http.ConnectError, _http.TimeoutException))
    return None if away else _wait_for(error)


def _wait_for(error: Exception) -> float | None:
    """`wait_for` of `with_retries`: busy servers and broken connections are retried, other errors are not."""
    if isinstance(error, errors.HfHubHTTPError):
        response = error.response
        if response is None or response.status_code not in _PASSING:
            return None
        return retry_after_s(response.headers.get("Retry-After"))
    is_short_file = type(error) is OSError and error.errno is None     # huggingface_hub raises this for a wrong length
    return 0.0 if isinstance(error, _http.TransportError) or is_short_file else None


def _explained(error: Exception, request: Request) -> Exception:
    """The error to show the user for an error of huggingface_hub."""
    url, token = _url(request), _token(request)
    response = error.response if isinstance(error, errors.HfHubHTTPError) else None
    if messages.is_disk_full(error):
        return messages.disk_full(request, _cache_dir(request), None, None)
    if isinstance(error, errors.GatedRepoError):
        return messages.no_access(request, url, token, is_gated=True)
    if isinstance(error, errors.RevisionNotFoundError):
        return messages.no_revision(request, url, _known_revisions(request))
    if isinstance(error, errors.RepositoryNotFoundError):
        return messages.not_found(request, url, token)
    if response is not None and response.status_code in (401, 403):
        return messages.no_access(request, url, token, is_gated=False)
    return messages.unreadable(request, url, error.__cause__ or error)


def _token(request: Request) -> str:
    """A sentence for errors: whether a token was sent, where it came from, and where tokens are looked for."""
    places = f"the option hf_token, HF_TOKEN, the file {constants.HF_TOKEN_PATH} (`hf auth login` writes it)"
    if request.access.token:
        return "The token of the option hf_token was sent."
    if huggingface_hub.get_token() is None:
        return f"No token was sent; it is looked for in {places}."
    source = "HF_TOKEN" if has_token_variable() else constants.HF_TOKEN_PATH
    return f"The token of {source} was sent; one is looked for in {places}."


def _known_revisions(request: Request) -> list[str]:
    api = huggingface_hub.HfApi(endpoint=constants.ENDPOINT, token=request.access.token)
    try:
        refs = api.list_repo_refs(request.repo_id)
    except (errors.HfHubHTTPError, _http.HTTPError):
        return []
    return [ref.name for ref in (*refs.branches, *refs.tags)]
