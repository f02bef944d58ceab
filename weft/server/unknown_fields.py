"""What happens to a body's unknown fields: refused under `strict_fields`, else told in the log once, with the nearest
known name.

The names are the client's, so texts are cut and only so many are remembered.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from weft.errors import did_you_mean
from weft.server.errors import ApiError

logger = logging.getLogger(__name__)
_MAX_CHARS = 64            # of a name in a message
_MAX_TOLD = 1000           # names that are told and remembered; more of them are told no more


class UnknownFields:
    """Treats the unknown fields of all requests of one server. strict: refuse them."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._told: set[tuple[str, str]] = set()

    def treat(self, path: str, names: Sequence[str], known: Collection[str]) -> None:
        """Tell or refuse `names`. path: the request's route. known: the fields that the route knows."""
        for name in names:
            short = name[:_MAX_CHARS]
            if self._strict:
                raise ApiError(400, f"{short!r} is no field of {path}. {did_you_mean(short, known)}".rstrip(), short)
            if (path, short) not in self._told and len(self._told) < _MAX_TOLD:
                self._told.add((path, short))
                logger.warning("%s: the field %r is unknown and ignored. %s", path, short, did_you_mean(short, known))
