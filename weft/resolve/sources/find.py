"""`find`: turns a name and a revision into a local folder of files, with their commit and the origin of every file.

All files of models, tokenizers, processors, adapters and draft models are found here. A local path is used directly.
Otherwise the repository is opened and its revision pinned to a commit; its small files are fetched; the index among
them lists the shards; then the weights are fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from weft.errors import ConfigError
from weft.resolve.gguf.files import is_remote_gguf, local_gguf, split_remote_gguf
from weft.resolve.json_file import read_json
from weft.resolve.sources import environment, messages, wanted
from weft.resolve.sources.local import local_directory, not_there, redirected
from weft.resolve.sources.repository import Access, Repository, Request
from weft.resolve.sources.wanted import MODEL, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Files on this machine.

    source: "local directory", "local GGUF file", "hub" or "modelscope". commit: the commit that the revision was pinned
    to; None for local files and for sources without commits. gguf: the GGUF file that is meant, or None. origins:
    {file name: "cache", or the URL it was just downloaded from}; empty for local files. names: all known files of the
    repository; empty for local files.
    """

    name: str
    directory: Path
    source: str
    commit: str | None = None
    gguf: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    @property
    def origin(self) -> str:
        """The source and the commit in words."""
        return self.source if self.commit is None else f"{self.source}, commit {self.commit}"


def find(name: str, *, revision: str | None = None, want: Wanted = MODEL, access: Access | None = None,
         field: str = "model") -> Found:
    """The folder with the files, downloaded if needed. ConfigError names `field`, what was tried and what to do."""
    target = redirected(name, environment.redirect_file())
    local = find_local(target, field=field)
    if local is not None:
        return replace(local, name=name)
    repo_id = target
    if is_remote_gguf(target):
        repo_id, meant = split_remote_gguf(target)
        want = replace(want, weights="gguf", gguf=meant)
    request = Request(name=target, repo_id=repo_id, revision=revision, field=field, access=access or Access())
    return replace(_fetch(open_repository(request), request, want), name=name)


def open_repository(request: Request) -> Repository:
    """The repository on the hub, or on ModelScope when the environment selects it. ConfigError says what was tried."""
    # Imported here because the network clients behind these two take 0.1 s, and a local model needs neither.
    from weft.resolve.sources import hub, modelscope

    if not hub.is_repo_id(request.repo_id):
        raise not_there(request.name, request.field)
    return modelscope.open_modelscope(request) if environment.uses_modelscope() else hub.open_hub(request)


def find_local(name: str, *, field: str = "model") -> Found | None:
    """Like `find`, but only on this machine: None for a name that means nothing here. Never opens a socket."""
    gguf = local_gguf(name)
    if gguf is not None:
        return Found(name=name, directory=gguf.parent, source="local GGUF file", gguf=gguf)
    if is_remote_gguf(name):
        return None
    directory = local_directory(name, field)
    return None if directory is None else Found(name=name, directory=directory, source="local directory")


def _fetch(repository: Repository, request: Request, want: Wanted) -> Found:
    names = set(repository.names)
    if not repository.is_complete:
        names |= wanted.assumed(names, want)
    small = wanted.small_files(names, want)
    if want.include and not small:
        raise ConfigError(request.field, request.name, expected=f"files that match {', '.join(want.include)}",
                          hint=f"It has: {', '.join(sorted(names)[:12])}{', …' if len(names) > 12 else ''}.")
    fetched = repository.fetch(small)
    index = wanted.index_file(names, want)
    shards = _shards(fetched.directory / index) if index else ()
    lost = set(shards) - names if repository.is_complete else set()
    if lost:
        raise messages.no_file(request, lost, f"{request.repo_id} ({index} names them)")
    weights = wanted.weight_files(names, want, shards, source=request.name)
    origins = {**fetched.origins, **(repository.fetch(weights).origins if weights else {})}
    gguf = next((fetched.directory / name for name in weights if name.lower().endswith(".gguf")), None)
    return Found(name=request.name, directory=fetched.directory, source=repository.source, commit=repository.commit,
                 gguf=gguf, origins=origins, names=repository.names)


def _shards(index: Path) -> list[str]:
    """The files that an index names; [] when the index is malformed, which the reader of the weights reports."""
    weight_map = read_json(index).get("weight_map")
    return sorted({str(file) for file in weight_map.values()}) if isinstance(weight_map, dict) else []
