"""`HttpUrl`: an http or https URL in parts, read once, so that what is checked is what is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

_MAX_CHARS = 8192
_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")      # parsers differ about these characters
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_V6 = re.compile(r"[0-9a-f:.]+")
_TARGET = "/:@!$&'()*+,;=-._~%?"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpUrl:
    """scheme: http or https. host: in lower case and ASCII, without the dot at its end. target: path and query."""

    scheme: str
    host: str
    port: int
    target: str

    def joined(self, location: str) -> HttpUrl:
        """The URL that a redirect from this one names. ValueError as of `read_http_url`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return read_http_url(urljoin(f"{self.scheme}://{host}:{self.port}{self.target}", location))


def read_http_url(text: str) -> HttpUrl:
    """ValueError, whose text says what is wrong, for what is no plain http or https URL."""
    if len(text) > _MAX_CHARS or _UNSAFE.search(text):
        raise ValueError(f"expected at most {_MAX_CHARS} characters, without spaces, control characters and "
                         "backslashes")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError as error:      # UnicodeError, too
        raise ValueError("expected a host and a port that can be read") from error
    if parts.scheme not in _PORTS:
        raise ValueError("expected http or https")
    if "@" in parts.netloc:
        raise ValueError("expected no user name or password")
    if not (_NAME.fullmatch(host) or ("[" in parts.netloc and _V6.fullmatch(host))) or len(host) > 253 or port == 0:
        raise ValueError("expected a host and a port that can be read")
    target = quote(parts.path or "/", safe=_TARGET) + ("?" + quote(parts.query, safe=_TARGET) if parts.query else "")
    return HttpUrl(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme], target=target)
