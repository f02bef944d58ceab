"""`Repository`: the interface of a model on the hub or on ModelScope, pinned to one commit; `Access`: how to reach it.

Knows no server and no client library.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from weft.resolve.sources.retry import Backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach repositories. token: the hub's access token. download_dir: the folder for files; None: the source's
    cache.
    """

    token: str | None = None
    download_dir: str | None = None
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for a repository. name: as the user gave it; field: the option that errors name."""

    name: str
    repo_id: str
    revision: str | None
    field: str
    access: Access


@dataclass(frozen=True, slots=True)
class Fetched:
    """A folder that holds the requested files. origins: {file name: the URL it came from, or "cache"}."""

    directory: Path
    origins: Mapping[str, str]


class Repository(Protocol):
    """One commit of a model.

    names: its files; all of them if is_complete, else those in the cache. commit: None for a source without commits.
    """

    @property
    def source(self) -> str: ...

    @property
    def commit(self) -> str | None: ...

    @property
    def names(self) -> frozenset[str]: ...

    @property
    def is_complete(self) -> bool: ...

    def fetch(self, names: Collection[str]) -> Fetched:
        """Bring these files onto the disk. ConfigError says what was tried; KeyboardInterrupt has a message."""
        ...
