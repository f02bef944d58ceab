"""`serve`: binds the address, starts the engine, serves until a signal, lets running requests finish, stops.

The address is bound before the model loads, so that a busy port is reported at once. This module knows sockets and
signals, no routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import ipaddress
import logging
import math
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

import uvicorn

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.config.human_bytes import human_bytes
from weft.config.machine import Machine
from weft.engine.process.spare import Spare
from weft.errors import ConfigError
from weft.server.access_log import log_config
from weft.server.admission import with_queue_limits
from weft.server.app import build_app
from weft.server.auth import ApiKey, read_keys
from weft.server.options import ServerOptions
from weft.server.parser_plugins import load_parser_plugins
from weft.server.traces import Tracing, tracing_of

logger = logging.getLogger("weft")

_BACKLOG = 2048
_GOODBYE_SECONDS = 5      # time for the last error responses after the engine has ended


def serve(args: EngineArgs, options: ServerOptions, spare: Spare | None = None) -> None:
    """Serve until SIGINT or SIGTERM. ConfigError for an unusable address; the engine's errors if it cannot start;
    EngineDeadError if it died and stays down.

    spare: a process that imports already and becomes the engine.
    """
    keys = read_keys(options)
    load_parser_plugins(options)
    with tracing_of(options) as tracing, listening_socket(options) as sock, _interruptible():
        args = with_queue_limits(args, Machine.detect())
        engine = AsyncLLM.from_engine_args(args, spare=spare, keeps_spare=options.spare_engine)
        try:
            server = _Server(uvicorn_config(engine, options, keys, tracing), engine, options.shutdown_timeout)
            _warn_if_open(options, sock)
            sock.listen(_BACKLOG)
            print(banner(engine, options, sock), flush=True)
            _spare_collector()
            server.run(sockets=[sock])
            if engine.errored:      # without a signal the server ends for no other reason
                raise engine.dead_error
        finally:
            engine.shutdown()


def _spare_collector() -> None:
    """Takes all objects of the started server out of the garbage collector's view.

    They live as long as the process. A full collection, which holds up all requests, would look at each of them: 0.2 s
    with transformers imported.
    """
    gc.collect()
    gc.freeze()


def uvicorn_config(engine: AsyncLLM, options: ServerOptions, keys: Sequence[ApiKey],
                   tracing: Tracing | None) -> uvicorn.Config:
    """The uvicorn configuration, with the app."""
    return uvicorn.Config(
        build_app(engine, options, keys, tracing), log_config=log_config(options), log_level=options.uvicorn_log_level,
        lifespan="off", server_header=False, ws="none", access_log=not options.disable_uvicorn_access_log,
        ssl_keyfile=options.ssl_keyfile, ssl_certfile=options.ssl_certfile,
        timeout_graceful_shutdown=math.ceil(options.shutdown_timeout + _GOODBYE_SECONDS))


class _Server(uvicorn.Server):
    """A uvicorn server that ends requests still running `shutdown_timeout` s after the signal with a readable error.

    A second signal ends them at once. The server also ends when its engine stays down.
    """

    def __init__(self, config: uvicorn.Config, engine: AsyncLLM, shutdown_timeout: float) -> None:
        super().__init__(config)
        self._engine, self._seconds = engine, shutdown_timeout

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remembers the event loop for `handle_exit`."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """True when the server should end: after a signal, or without an engine."""
        return await super().on_tick(counter) or self._engine.errored

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal handler. At a second signal nothing more is waited for."""
        if self.should_exit:
            self.force_exit = True
            self._loop.call_soon_threadsafe(self._engine.kill)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for open requests; end the engine, and so the requests, after `shutdown_timeout` seconds."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._seconds, lambda: loop.run_in_executor(None, self._engine.shutdown))
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def listening_socket(options: ServerOptions) -> socket.socket:
    """A socket bound to the address in `options`. ConfigError if it is in use or not an address of this machine."""
    if options.uds is not None:
        return _bound_unix_socket(options.uds)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise ConfigError("host", options.host, expected="an address or a name of this machine",
                          hint=f"{error.strerror}.") from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _address_error(error, options) from error
    return sock


def _address_error(error: OSError, options: ServerOptions) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError("port", options.port, expected=f"a free port of {options.host}",
                           hint="Another program listens there: stop it, or give another --port (0: any free one).")
    if error.errno == errno.EACCES:
        return ConfigError("port", options.port, expected="a port this user may listen on", hint="Use one above 1023.")
    return ConfigError("host", options.host, expected="an address of this machine", hint=f"{error.strerror}.")


def _bound_unix_socket(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(path):
            os.unlink(path)
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise ConfigError("uds", path, expected="a path where a socket can be made",
                          hint=f"{error.strerror or error}.") from error
    return sock


def _is_left_over(path: str) -> bool:
    """True for a socket file without a listening process."""
    if not os.path.exists(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM end the block with its clean-up, instead of ending the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        print("weft: stopped", flush=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def banner(engine: AsyncLLM, options: ServerOptions, sock: socket.socket) -> str:
    """The text printed at start: model, sizes, addresses."""
    config, info = engine.config, engine.info
    lines = [f"model       {', '.join(config.served_model_names)}  ({config.model.architecture}, {config.model.dtype}, "
             f"loaded in {info.load_seconds:.1f} s)",
             f"memory      {human_bytes(info.weight_bytes)} of weights, {human_bytes(info.kv_cache_bytes)} of KV cache",
             f"context     {info.max_model_len} tokens, {config.scheduler.max_num_seqs} sequences at once, "
             f"{config.num_threads} threads"]
    if options.uds is not None:
        return "\n".join([*lines, f"API         unix:{options.uds}"])
    url = _url(options, sock)
    lines.append(f"API         {url}/v1" + ("  (with a key)" if options.asks_for_key else ""))
    return "\n".join([*lines, *([f"playground  {url}/"] if options.enable_playground else [])])


def _warn_if_open(options: ServerOptions, sock: socket.socket) -> None:
    """Logs a warning if the server listens beyond this machine and asks for no key."""
    if sock.family == socket.AF_UNIX or options.asks_for_key:
        return
    host = sock.getsockname()[0]
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        logger.warning("ANYONE who reaches %s may use this server: it listens beyond this machine and asks for no "
                       "key. Give --api-key-file FILE, or leave --host out.", host)


def _url(options: ServerOptions, sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if options.ssl_certfile else 'http'}://{shown}:{port}"
