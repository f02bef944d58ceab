"""`Repository`: a model on the hub or on ModelScope, pinned to one commit; `Access`: how to get at it.

What the sources have in common. Knows no server and no library of one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from weft.resolve.sources.retry import Backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach repositories. token: of the hub; download_dir: where files are kept, else the source's cache."""

    token: str | None = None
    download_dir: str | None = None
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for. field: the option that errors name; name: as the user gave it."""

    name: str
    repo_id: str
    revision: str | None
    field: str
    access: Access


@dataclass(frozen=True, slots=True)
class Fetched:
    """A folder that holds the files asked for. origins: {name: URL it came from, or "cache"}."""

    directory: Path
    origins: Mapping[str, str]


class Repository(Protocol):
    """One commit of a model.

    names: its files, all of them when is_complete, else those that are in the cache. commit: None where the source
    has no name for it.
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
        """See that these files are on disk. ConfigError saying what was tried, KeyboardInterrupt with a text."""
        ...
