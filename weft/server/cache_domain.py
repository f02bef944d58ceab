"""Whose cached prefixes a request may share: with `cache_per_key` only those of its own API key.

A prefix that is cached already is answered sooner, so shared ones tell a patient client what others have asked.
"""

from __future__ import annotations

from weft.server.options import ServerOptions
from weft.server.origin import Origin


def cache_domain(options: ServerOptions, origin: Origin, cache_salt: str | None) -> dict[str, str]:
    """The prompt's fields that keep its prefixes apart: the client's salt, or that and the digest of its key."""
    if not options.cache_per_key:
        return {} if cache_salt is None else {"cache_salt": cache_salt}
    return {"cache_salt": f"{origin.key_digest.hex()} {cache_salt or ''}"}
