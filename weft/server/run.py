"""`serve`: binds the address, loads the model, serves until a signal, lets running requests finish, stops.

The address is bound before the model loads, so that a busy port is reported at once. This module knows sockets and
signals, no routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
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

from weft.config.collector import spare_collector
from weft.config.engine_args import EngineArgs
from weft.config.human_bytes import human_bytes
from weft.config.machine import Machine
from weft.engine.process.spare import CORE, Spare, Spares
from weft.errors import ConfigError
from weft.frontend.own_thread import in_own_thread
from weft.server.access_log import log_config
from weft.server.app import build_app
from weft.server.auth import ApiKey, read_keys
from weft.server.model_pool.loader import EngineLoader
from weft.server.model_pool.pool import ModelPool
from weft.server.model_pool.spec import model_specs
from weft.server.options import ServerOptions
from weft.server.parser_plugins import load_parser_plugins
from weft.server.served import ServedModel
from weft.server.traces import tracing_of

logger = logging.getLogger("weft")

_BACKLOG = 2048
_GOODBYE_SECONDS = 5      # time for the last error responses after the engine has ended


def serve(args: EngineArgs, options: ServerOptions, spare: Spare | None = None) -> None:
    """Serve until SIGINT or SIGTERM. ConfigError for an unusable address or list of models; the engine's errors if a
    model that is loaded at start cannot be; EngineDeadError if the only engine died and stays down.

    spare: a process that imports already and becomes the first engine.
    """
    keys = read_keys(options)
    load_parser_plugins(options)      # before names of parsers are checked
    machine = Machine.detect()
    specs = model_specs(args, options, machine)
    with tracing_of(options) as tracing, listening_socket(options) as sock, _interruptible():
        models = ModelPool(specs, _loader(args, options, machine, spare), load_timeout=options.load_timeout,
                           tracing=tracing)
        try:
            models.load_first()
            server = Server(uvicorn_config(models, options, keys), models, options.shutdown_timeout)
            _warn_if_open(options, sock)
            sock.listen(_BACKLOG)
            print(banner(models, options, sock), flush=True)
            spare_collector()
            server.run(sockets=[sock])
            if models.dead_error is not None:      # without a signal the server ends for no other reason
                raise models.dead_error
        finally:
            models.close()


def _loader(args: EngineArgs, options: ServerOptions, machine: Machine, spare: Spare | None) -> EngineLoader:
    factory = CORE if spare is None else spare.core_factory
    budget = options.models_memory_bytes or int(machine.available_bytes.value * args.gpu_memory_utilization)
    return EngineLoader(Spares(factory, keeps=options.spare_engine, first=spare), budget_bytes=budget,
                        is_given=options.models_memory_bytes is not None)


def uvicorn_config(models: ModelPool, options: ServerOptions, keys: Sequence[ApiKey]) -> uvicorn.Config:
    """The uvicorn configuration, with the app."""
    return uvicorn.Config(
        build_app(models, options, keys), log_config=log_config(options), log_level=options.uvicorn_log_level,
        lifespan="off", server_header=False, ws="none", access_log=not options.disable_uvicorn_access_log,
        ssl_keyfile=options.ssl_keyfile, ssl_certfile=options.ssl_certfile,
        timeout_graceful_shutdown=math.ceil(options.shutdown_timeout + _GOODBYE_SECONDS))


class Server(uvicorn.Server):
    """A uvicorn server that ends requests still running `shutdown_timeout` s after the signal with a readable error.

    A second signal ends them at once. The server also ends when its only engine stays down.
    """

    def __init__(self, config: uvicorn.Config, models: ModelPool, shutdown_timeout: float) -> None:
        super().__init__(config)
        self._models, self._seconds = models, shutdown_timeout

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remembers the event loop for `handle_exit`."""
        self._loop = asyncio.get_running_loop()
        self._models.begin()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """True when the server should end: after a signal, or when no model can answer any more."""
        self._models.drop_dead()
        return await super().on_tick(counter) or self._models.dead_error is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal handler. At a second signal nothing more is waited for."""
        if self.should_exit:
            self.force_exit = True
            self._loop.call_soon_threadsafe(self._models.kill)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for open requests; end the engines, and so the requests, after `shutdown_timeout` seconds.

        The engines have ended when it returns. A load that nobody waits for has, too: the event loop would wait for it.
        """
        late = asyncio.create_task(self._close_late())
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
            await in_own_thread(self._models.close)

    async def _close_late(self) -> None:
        await asyncio.sleep(self._seconds)
        await in_own_thread(self._models.close)


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


def banner(models: ModelPool, options: ServerOptions, sock: socket.socket) -> str:
    """The text printed at start: models, sizes, addresses."""
    lines = [line for served in models.loaded for line in _about(served)]
    if not lines:
        lines = [*(f"model       {', '.join(entry.spec.names)}" for entry in models.entries),
                 "            each is loaded when a request names it"]
    if options.uds is not None:
        return "\n".join([*lines, f"API         unix:{options.uds}"])
    url = _url(options, sock)
    lines.append(f"API         {url}/v1" + ("  (with a key)" if options.asks_for_key else ""))
    return "\n".join([*lines, *([f"playground  {url}/"] if options.enable_playground else [])])


def _about(served: ServedModel) -> list[str]:
    config, info = served.engine.config, served.engine.info
    return [f"model       {', '.join(served.names)}  ({config.model.architecture}, {config.model.dtype}, "
            f"loaded in {info.load_seconds:.1f} s)",
            f"memory      {human_bytes(info.weight_bytes)} of weights, {human_bytes(info.kv_cache_bytes)} of KV cache",
            f"context     {info.max_model_len} tokens, {config.scheduler.max_num_seqs} sequences at once, "
            f"{config.num_threads} threads"]


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
