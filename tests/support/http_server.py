"""A server in a thread, on a free port of this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable, Iterator

import httpx
import uvicorn
from starlette.routing import BaseRoute, Route

from weft.server.app import build_app
from weft.server.model_pool.pool import ModelPool
from weft.server.options import ServerOptions
from weft.server.traces import Tracing

# Of clients that wait between requests: a kept connection may be closed by the server just then.
ONE_BY_ONE = httpx.Limits(max_keepalive_connections=0)


def routes_of(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    """All routes, those of included routers among them."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        else:
            yield from routes_of(route.original_router.routes)


@contextlib.contextmanager
def running_server(engine, options: ServerOptions, tracing: Tracing | None = None) -> Iterator[str]:
    """The URL of a server of `engine` that runs inside the block."""
    with running_pool(ModelPool.of(engine, options, tracing), options) as url:
        yield url


@contextlib.contextmanager
def running_pool(models: ModelPool, options: ServerOptions) -> Iterator[str]:
    """The URL of a server of `models` that runs inside the block."""
    config = uvicorn.Config(build_app(models, options), lifespan="off", log_level="error", access_log=False, ws="none",
                            timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    # With the protocol named, as `weft serve` does: asyncio then sends at once (TCP_NODELAY).
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=20)
