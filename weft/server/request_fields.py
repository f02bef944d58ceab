"""What requests may say in a field of the body or in a header: id, priority, time limit; and the header that answers
with the names of ignored fields.
"""

from __future__ import annotations

import math

from starlette.requests import Request

from weft.server.errors import ApiError
from weft.server.headers import header_value
from weft.server.origin import origin_of

_WAITED = "weft.waited"                   # key of a scope: seconds that the request waited for its model
_MAX_NAMES, _MAX_NAME_CHARS = 20, 64      # limits of the response header that names unknown fields


def request_id_of(request: Request, given: str | None) -> str:
    """The client's request id: `given` (from the body), else that of the origin."""
    return given or origin_of(request.scope).request_id


def priority_of(request: Request, given: int | None) -> int:
    """The request's priority: `given` (from the body), else the header X-Weft-Priority, else 0."""
    header = request.headers.get("x-weft-priority", "0")
    if given is not None:
        return given
    if not header.removeprefix("-").isdecimal() or len(header) > 10:
        raise ApiError(400, f"X-Weft-Priority = {header[:40]!r}: expected an integer.", "X-Weft-Priority")
    return int(header)


def note_wait(request: Request, seconds: float) -> None:
    """The request has waited for its model: `timeout_of` counts these seconds."""
    request.scope[_WAITED] = seconds


def timeout_of(request: Request, given: float | None) -> float | None:
    """Seconds that the request may still take: of `given` (from the body), else of the header X-Weft-Timeout; None: no
    limit.
    """
    text = request.headers.get("x-weft-timeout")
    field = "timeout" if given is not None else "X-Weft-Timeout"
    try:
        seconds = given if given is not None or text is None else float(text)
    except ValueError:
        seconds = math.nan
    if seconds is not None and not 0 < seconds < math.inf:
        raise ApiError(400, f"{field} = {(text or '')[:40] if given is None else given}: expected seconds above 0.",
                       field)
    return seconds if seconds is None else max(seconds - request.scope.get(_WAITED, 0.0), 0.001)


def ignored_header(ignored: tuple[str, ...]) -> dict[str, str]:
    """A response header that names the ignored (unknown) fields, so that clients notice a misspelling."""
    names = [header_value(name, _MAX_NAME_CHARS) or "(unprintable)" for name in ignored[:_MAX_NAMES]]
    return {"X-Weft-Ignored-Fields": ", ".join(dict.fromkeys(names))} if ignored else {}
