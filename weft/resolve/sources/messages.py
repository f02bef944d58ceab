"""The errors of sources: one function for each kind of failure, shared by all servers. Knows no client library."""

from __future__ import annotations

import errno
from collections.abc import Collection
from pathlib import Path

from weft.config.human_bytes import human_bytes
from weft.errors import ConfigError, nearest
from weft.resolve.sources.repository import Request

EXPECTED = "a local directory or a model on the hub that can be reached"


def not_found(request: Request, url: str, token: str) -> ConfigError:
    """The repository does not exist, or is private and the server hides it."""
    near = nearest(Path(request.name).name, _entries(Path(request.name).parent))
    local = f" Did you mean the local path {str(Path(request.name).parent / near[0])!r}?" if near else \
        " If you meant a local path: it does not exist, seen from the folder you are in."
    return _error(request, f"{url} does not exist, or is private: check the name. {token}{local}")


def no_access(request: Request, url: str, token: str, *, is_gated: bool) -> ConfigError:
    """The repository exists, but this token may not read it."""
    first = f"{url} is gated: ask for access on its page, then pass a token of that account." if is_gated else \
        f"{url} refuses: it is private, or the token is not valid."
    return _error(request, f"{first} {token}")


def no_revision(request: Request, url: str, known: Collection[str]) -> ConfigError:
    """The repository has no such branch, tag or commit."""
    has = f"; it has {', '.join(sorted(known)[:10])}{', …' if len(known) > 10 else ''}" if known else ""
    field = {"model": "revision", "tokenizer": "tokenizer_revision"}.get(request.field, request.field)
    return ConfigError(field, request.revision, expected=f"a branch, tag or commit of {request.repo_id}",
                       hint=f"{url} has no revision {request.revision!r}{has}.")


def no_file(request: Request, names: Collection[str], url: str) -> ConfigError:
    """The repository lacks files that its own index names."""
    return _error(request, f"{url} has no {_listed(names)}.")


def not_cached(request: Request, names: Collection[str], cache: Path, why: str) -> ConfigError:
    """Downloading is forbidden or impossible, and the cache lacks files. names: these files; empty: all are missing."""
    revision = f" at revision {request.revision}" if request.revision else ""
    lacks = f"lacks {_listed(names)} of {request.repo_id}{revision}" if names else \
        f"has no files of {request.repo_id}{revision}"
    return _error(request, f"the cache {cache} {lacks}, and {why}. With a connection, "
                  f"`weft pull {request.name}` completes it.")


def disk_full(request: Request, folder: Path, need: int | None, free: int | None) -> ConfigError:
    """The disk is too small. need, free: bytes, None where unknown."""
    sizes = f"{human_bytes(need)} are needed and {human_bytes(free)} are free" if need and free is not None else \
        "it ran full while files were written"
    return ConfigError("download_dir", str(folder), expected=f"a disk with room for {request.repo_id}",
                       hint=f"{sizes[0].upper()}{sizes[1:]}. Make room (`weft cache list` shows what is there) or "
                       "choose another folder with download_dir.")


def unreadable(request: Request, url: str, error: BaseException) -> ConfigError:
    """Any other failure, with the message of the server or the connection."""
    return _error(request, f"{url} could not be read: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def interrupted(request: Request, folder: Path) -> KeyboardInterrupt:
    """The user stopped a download."""
    return KeyboardInterrupt(f"download of {request.repo_id} interrupted; finished files stay in {folder}, and the "
                             "same command goes on with the others")


def is_disk_full(error: BaseException | None) -> bool:
    """True when a full disk, or an exhausted quota, is the cause of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _error(request: Request, what: str) -> ConfigError:
    return ConfigError(request.field, request.name, expected=EXPECTED,
                       hint=f"There is no directory {request.name!r} here, and {what}")


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more files" if len(shown) > 5 else "")


def _entries(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir() if entry.is_dir()]
    except OSError:
        return []
