"""The access log: which requests have a line, and the log configuration for uvicorn, which writes it.

What clients can make uvicorn warn of has a limit, too.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from typing import Any

from uvicorn.config import LOGGING_CONFIG

from weft.config.log_format import LOG_FORMAT, LOG_TIME
from weft.server.audit import REFUSALS, Allowance
from weft.server.options import ServerOptions

_LINE = '%(client_addr)s "%(request_line)s" %(status_code)s'      # names of uvicorn's formatter
_POLLED = ("/metrics", "/health", "/ping", "/load")      # monitoring requests these every few seconds
# The audit writes their lines, with reasons and a limit. A 404 has no line there unless a route says what is missing.
_AUDITED = REFUSALS - {404}
_WARNINGS, _WARNING_SECONDS = 20, 10.0      # at once, and seconds until there may be another one


class AccessFilter(logging.Filter):
    """Drops lines of successful monitoring requests, of refusals that the audit writes, and of `paths`."""

    def __init__(self, paths: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._paths = paths

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record to drop. uvicorn's record arguments are (client, method, path, version, status)."""
        args = record.args
        if not (isinstance(args, tuple) and len(args) == 5):
            return True
        path, status = str(args[2]).partition("?")[0], args[4]
        return not ((path in _POLLED and status == 200) or status in _AUDITED or path in self._paths)


class LimitedWarnings(logging.Filter):
    """Passes uvicorn's warnings of what is no HTTP, which clients cause, up to a limit. The next one counts the others.

    clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._num_dropped = clock, 0
        self._allowance = Allowance(_WARNINGS, _WARNING_SECONDS, clock())

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record to drop."""
        if record.levelno != logging.WARNING:
            return True
        if not self._allowance.take(self._clock()):
            self._num_dropped += 1
            return False
        if self._num_dropped:
            record.msg = f"{record.msg} ({self._num_dropped} warnings before it were not logged)"
            self._num_dropped = 0
        return True


def log_config(options: ServerOptions) -> dict[str, Any]:
    """uvicorn's log configuration: weft's format, on stderr."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["formatters"]["default"] = {"format": LOG_FORMAT, "datefmt": LOG_TIME}
    config["formatters"]["access"] |= {"fmt": LOG_FORMAT.replace("%(message)s", _LINE), "datefmt": LOG_TIME}
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    config["filters"] = {"access": {"()": AccessFilter, "paths": options.silent_paths},
                         "warnings": {"()": LimitedWarnings}}
    config["handlers"]["access"]["filters"] = ["access"]
    config["handlers"]["default"]["filters"] = ["warnings"]
    return config
