"""A hub on this machine, for the real client libraries: speaks the APIs of the Hugging Face hub and of ModelScope.

Repositories are commits of files in memory. Faults are given in advance and happen once each: an answer with a status,
or a body that breaks off. Every request is written down.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub

LFS = (".safetensors", ".bin", ".gguf")


@dataclass
class Repo:
    """commits: {id: {name: content}}; refs: {branch or tag: id}. allowed: tokens that may read it, None: anybody."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    allowed: tuple[str, ...] | None = None
    is_gated: bool = False

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """(commit, its files)."""
        commit = self.refs.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


@dataclass
class Fault:
    """What happens to a request of this method whose path has this text: a status, or a body of so many bytes."""

    method: str
    text: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    break_after: int | None = None
    call: Callable[[], None] | None = None


class FakeHub:
    """The server. repos: {id: Repo}; requests: (method, path, Range, Authorization) of each."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        port = self.server.server_address[1]
        self.url, self.cdn_url = f"http://127.0.0.1:{port}", f"http://localhost:{port}"    # to clients two hosts
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop listening, and answer no connection that is still open."""
        huggingface_hub.close_session()
        self.server.shutdown()
        self.server.server_close()

    def add(self, repo_id: str, files: dict[str, bytes], **options) -> str:
        """Put a repository with one commit on branches main and master; its id."""
        commit = hashlib.sha1(repo_id.encode()).hexdigest()
        self.repos[repo_id] = Repo({commit: dict(files)}, {"main": commit, "master": commit}, **options)
        return commit

    def commit(self, repo_id: str, files: dict[str, bytes]) -> str:
        """Move main and master to a new commit with these files over the old ones."""
        repo = self.repos[repo_id]
        commit = hashlib.sha1(repr((repo.refs["main"], sorted(files))).encode()).hexdigest()
        repo.commits[commit] = repo.commits[repo.refs["main"]] | files
        repo.refs["main"] = repo.refs["master"] = commit
        return commit

    def fail(self, method: str, text: str, *, times: int = 1, **what) -> None:
        """Let the next `times` requests fail."""
        self.faults += [Fault(method, text, **what) for _ in range(times)]

    def asked(self, method: str, text: str) -> list[tuple[str, str, str | None, str | None]]:
        """The requests of this method whose path has this text."""
        return [request for request in self.requests if request[0] == method and text in request[1]]

    def downloaded(self) -> set[str]:
        """Names of files whose content was asked for."""
        paths = [unquote(path) for method, path, *_ in self.requests if method == "GET"]
        by_name = [re.search(r"/resolve/[^/]+/([^?]+)|FilePath=([^&]+)", path) for path in paths]
        digests = {path.removeprefix("/cdn/") for path in paths if path.startswith("/cdn/")}
        return {match[1] or match[2] for match in by_name if match} | {
            name for repo in self.repos.values() for files in repo.commits.values()
            for name, content in files.items() if sha256(content) in digests}

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets."""
        with self.lock:
            fault = next((f for f in self.faults if f.method == method and f.text in path), None)
            if fault:
                self.faults.remove(fault)
            return fault

    def blob(self, digest: str) -> bytes:
        """The content with this SHA-256."""
        return next(content for repo in self.repos.values() for files in repo.commits.values()
                    for content in files.values() if sha256(content) == digest)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        self.hub.requests.append((self.command, self.path, self.headers["Range"], self.headers["Authorization"]))
        self.fault = self.hub.take(self.command, unquote(self.path))
        if self.fault and self.fault.call:
            self.fault.call()
        if self.fault and self.fault.status:
            return self._answer(self.fault.status, b"busy", self.fault.headers)
        path = unquote(urlsplit(self.path).path)
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if match := re.fullmatch(r"/cdn/(\w+)", path):
            return self._content(self.hub.blob(match[1]), {"ETag": f'"{match[1]}"'})
        if match := re.fullmatch(r"/api/v1/models/(.+?)/(repo/files|repo|revisions)", path):
            return self._modelscope(match[1], match[2], query)
        if match := re.fullmatch(r"/api/models/(.+?)(?:/(revision|tree|refs)(?:/(.+))?)?", path):
            return self._api(match[1], match[2] or "", match[3] or "main")
        if match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*match.groups())
        return self._answer(404, b"")

    def _repo(self, repo_id: str) -> Repo | None:
        """The repository when this request may read it; else the answer is given."""
        repo, token = self.hub.repos.get(repo_id), (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if repo is not None and (repo.allowed is None or token in repo.allowed):
            return repo
        if repo is not None and repo.is_gated:
            self._answer(403 if token else 401, b"", {"X-Error-Code": "GatedRepo"})
        elif token == "stale":
            self._answer(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
        else:
            self._answer(404 if token else 401, b"", {"X-Error-Code": "RepoNotFound"})
        return None

    def _api(self, repo_id: str, what: str, revision: str) -> None:
        repo = self._repo(repo_id)
        if repo is None:
            return None
        if what == "refs":
            entry = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": c} for name, c in repo.refs.items()]
            return self._json({"branches": entry, "tags": [], "converts": []})
        found = repo.files(revision)
        if found is None:
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        commit, files = found
        if what == "tree":
            return self._json([{"type": "file", "path": name, **_facts(name, content)}
                               for name, content in files.items()])
        return self._json({"id": repo_id, "sha": commit, "siblings": [
            {"rfilename": name, "size": len(content), "blobId": "0" * 40} for name, content in files.items()]})

    def _resolve(self, repo_id: str, revision: str, name: str) -> None:
        repo = self._repo(repo_id)
        if repo is None:
            return None
        found = repo.files(revision)
        if found is None or name not in found[1]:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound" if found else "RevisionNotFound"})
        commit, content = found[0], found[1][name]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sha256(content)}"'}
        if not name.endswith(LFS):
            return self._content(content, headers)
        linked = {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content)),
                  "Location": f"{self.hub.cdn_url}/cdn/{sha256(content)}"}
        return self._answer(302, b"", headers | linked)

    def _modelscope(self, repo_id: str, what: str, query: dict[str, str]) -> None:
        repo, token = self.hub.repos.get(repo_id), (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if repo is None:
            return self._json({"Code": 10010205001, "Message": "not found"}, status=404)
        if repo.allowed is not None and token not in repo.allowed:
            return self._json({"Code": 10010205002, "Message": "no access"}, status=403 if token else 401)
        if what == "revisions":
            return self._json({"Code": 200, "Data": {"RevisionMap": {
                "Branches": [{"Revision": name} for name in repo.refs], "Tags": []}}})
        found = repo.files(query["Revision"])
        if found is None:
            return self._json({"Code": 10010205001, "Message": "no such revision"}, status=404)
        if what == "repo/files":
            return self._json({"Code": 200, "Data": {"Files": [
                {"Path": name, "Name": name, "Type": "blob", "Size": len(content), "Sha256": sha256(content)}
                for name, content in found[1].items()]}})
        content = found[1][query["FilePath"]]
        if query["FilePath"].endswith(LFS):
            return self._answer(302, b"", {"Location": f"{self.hub.cdn_url}/cdn/{sha256(content)}"})
        return self._content(content, {})

    def _json(self, value: object, *, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        start = int(re.match(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[1])
        if self.headers["Range"]:
            headers = headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self._answer(206 if self.headers["Range"] else 200, content[start:], headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.break_after is not None:
            self.wfile.write(body[:self.fault.break_after])
            self.wfile.flush()
            self.close_connection = True        # sooner than Content-Length promised
            return
        self.wfile.write(body)


def _facts(name: str, content: bytes) -> dict[str, object]:
    facts: dict[str, object] = {"size": len(content), "oid": "0" * 40}
    lfs = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
    return facts | ({"lfs": lfs} if name.endswith(LFS) else {})
