"""`HttpGet`: fetches a file that a client names by URL, under limits of address, bytes, redirects and time.

A name is resolved once for each connection, and the connection goes to an address that was checked, so a name that
changes its address in between (DNS rebinding) changes nothing. No proxy is used, and nothing is read from the
environment.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore

from weft.media.addresses import AddressRule
from weft.media.http_url import HttpUrl, read_http_url

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = [("User-Agent", "weft"), ("Accept", "*/*"), ("Accept-Encoding", "identity"), ("Connection", "close")]


class HttpGet:
    """Any thread may call `get`.

    domains: hosts that may be asked; none: all. seconds: for one file, with its redirects; the resolver's own time
    for names comes on top. max_bytes: of a file.
    """

    def __init__(self, rule: AddressRule, *, domains: Sequence[str] = (), seconds: float, max_bytes: int) -> None:
        self._rule, self._seconds, self._max_bytes = rule, seconds, max_bytes
        self._domains = frozenset(domain.lower().rstrip(".") for domain in domains)
        self._context = ssl.create_default_context()

    def get(self, text: str) -> bytes:
        """The file of a URL. ValueError, whose text says in general words why there is none."""
        backend = _GuardedBackend(self._rule, time.monotonic() + self._seconds)
        url = read_http_url(text)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                self._check_domain(url)
                with httpcore.ConnectionPool(ssl_context=self._context, network_backend=backend) as pool:
                    found = self._ask(pool, url)
                if isinstance(found, bytes):
                    return found
                url = found
        except (httpcore.TimeoutException, TimeoutError) as error:
            raise ValueError(f"it did not arrive within {self._seconds:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise ValueError("its server cannot be reached, or does not speak HTTP") from error
        raise ValueError(f"there are more than {MAX_REDIRECTS} redirects")

    def _check_domain(self, url: HttpUrl) -> None:
        if self._domains and url.host not in self._domains:
            raise ValueError("its host is not among the allowed_media_domains of this server")

    def _ask(self, pool: httpcore.ConnectionPool, url: HttpUrl) -> bytes | HttpUrl:
        """The file, or the URL of a redirect."""
        asked = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        with pool.stream("GET", asked, headers=_HEADERS) as response:
            headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in headers:
                return url.joined(headers[b"location"])
            if response.status != 200:
                raise ValueError(f"its server answers with status {response.status}")
            if headers.get(b"content-encoding", "identity").lower() != "identity":
                raise ValueError("its server sends it compressed, without being asked")
            length = headers.get(b"content-length", "")
            if length.isdigit() and int(length) > self._max_bytes:
                raise self._too_large()
            content = bytearray()
            for part in response.iter_stream():
                content += part
                if len(content) > self._max_bytes:
                    raise self._too_large()
        return bytes(content)

    def _too_large(self) -> ValueError:
        return ValueError(f"it has more than {self._max_bytes} bytes")


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to allowed addresses only. until: when everything has to be over, by time.monotonic."""

    def __init__(self, rule: AddressRule, until: float) -> None:
        self._rule, self._until, self._plain = rule, until, httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
                    socket_options: Iterable[Any] | None = None) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
        allowed = [address for address in addresses if self._rule.allows(address, port)]
        if not allowed:      # one text for both cases: clients learn nothing of the names within
            raise ValueError("its host has no public address, or not at this port")
        for address in allowed:
            try:
                return _TimedStream(self._plain.connect_tcp(address, port, timeout=_left(self._until)), self._until)
            except httpcore.ConnectError:
                continue
        raise httpcore.ConnectError("no address answers")


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every action ends at one time, so that a slow server cannot go on by single bytes."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream, self._until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._until))

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
                  timeout: float | None = None) -> httpcore.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, _left(self._until)), self._until)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return left
