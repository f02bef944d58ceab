"""`Audit`: who was refused, and why: a log line and a count for each refused request.

The logger is `weft.audit`. Lines are limited, for each client and for all together, so that nobody can fill the log by
being refused; the count is complete, and a line each minute says how many refusals had none. No line has a key in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

import prometheus_client
from starlette.requests import Request

from weft.server.errors import ApiError, as_api_error
from weft.server.log_line import log_line
from weft.server.origin import Origin, origin_of

logger = logging.getLogger("weft.audit")

# Wrong or missing key, forbidden, nothing there, too slow, too large, unusable, too much. Other errors refuse nobody.
REFUSALS = frozenset({401, 403, 404, 408, 413, 422, 429})
_CLIENT_LINES, _CLIENT_SECONDS = 10, 10.0      # lines at once of one client, and seconds until it has another one
_ALL_LINES, _ALL_SECONDS = 100, 1.0            # of all clients
_MAX_CLIENTS = 1000                            # whose lines are counted one by one
_MAX_REASON_CHARS = 200


class Allowance:
    """Allows `most` events at once, and one more every `seconds`."""

    def __init__(self, most: int, seconds: float, now: float) -> None:
        self._most, self._seconds = most, seconds
        self._left, self._since = float(most), now

    def take(self, now: float) -> bool:
        """Whether an event is allowed at `now`, in seconds of one clock."""
        self._left = min(self._left + (now - self._since) / self._seconds, self._most)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Audit:
    """Notes the refusals of one server. Used by one event loop.

    summary_seconds: after the first refusal without a line, until a line says how many there were.
    """

    def __init__(self, registry: prometheus_client.CollectorRegistry, *, clock: Callable[[], float] = time.monotonic,
                 summary_seconds: float = 60.0) -> None:
        self._clock, self._summary_seconds = clock, summary_seconds
        self._all = Allowance(_ALL_LINES, _ALL_SECONDS, clock())
        # By address, or by key where there is one: clients may share an address. The one refused last is last.
        self._clients: OrderedDict[tuple[str, str | None], Allowance] = OrderedDict()
        self._untold: Counter[int] = Counter()                          # refusals without a line, by status
        self._count = prometheus_client.Counter(
            "http_requests_refused", "Requests refused, by status; each has a line of weft.audit, up to a limit.",
            ("status",), registry=registry)
        for status in sorted(REFUSALS):      # all are there from the start, at 0
            self._count.labels(status)

    def refused(self, origin: Origin, error: ApiError) -> None:
        """Notes that a request ends with `error`, if that is a refusal. A request is noted once."""
        if error.status not in REFUSALS or origin.is_refused:
            return
        origin.is_refused = True
        self._count.labels(error.status).inc()
        if not self._may_tell(origin):
            if not self._untold:
                asyncio.get_running_loop().call_later(self._summary_seconds, self._tell_untold)
            self._untold[error.status] += 1
            return
        logger.warning("%s", log_line(
            time=datetime.now(UTC).isoformat(timespec="seconds"), status=error.status, route=origin.route,
            client=origin.client, key=origin.key_name, id=origin.request_id,
            reason=error.message[:_MAX_REASON_CHARS]))

    def note(self, request: Request, error: Exception) -> None:
        """Notes that `request` ends with `error`, if that is a refusal."""
        self.refused(origin_of(request.scope), as_api_error(error))

    def _may_tell(self, origin: Origin) -> bool:
        now, client = self._clock(), ("" if origin.key_name else origin.client, origin.key_name)
        allowance = self._clients.get(client)
        if allowance is None:
            if len(self._clients) >= _MAX_CLIENTS:
                self._clients.popitem(last=False)
            allowance = self._clients[client] = Allowance(_CLIENT_LINES, _CLIENT_SECONDS, now)
        self._clients.move_to_end(client)
        return allowance.take(now) and self._all.take(now)

    def _tell_untold(self) -> None:
        by_status = ",".join(f"{status}:{count}" for status, count in sorted(self._untold.items()))
        logger.warning("%s", log_line(time=datetime.now(UTC).isoformat(timespec="seconds"),
                                      untold=self._untold.total(), by_status=by_status))
        self._untold.clear()
