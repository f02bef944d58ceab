"""The metrics `http_requests_total` and `http_request_duration_seconds`: responses and their durations, by route.

The class is an ASGI layer (middleware). The duration of a stream ends with its last byte.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"})
_UNANSWERED = 499      # nginx's status for a client that left before the response


class HttpMetrics:
    """Counts the responses of `app` in `registry`. A path without a route has the handler "none"."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter("http_requests", "HTTP requests answered.", ("method", "status", "handler"),
                                 registry=registry)
        self._seconds = Histogram("http_request_duration_seconds", "Seconds to an answer's last byte.",
                                  ("method", "handler"), registry=registry, buckets=_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = _UNANSWERED, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            status = 500
            raise
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._requests.labels(method, f"{status // 100}xx", route).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - start)
