"""The access log: which requests have a line, and the log configuration for uvicorn, which writes it."""

from __future__ import annotations

import copy
import logging
from typing import Any

from uvicorn.config import LOGGING_CONFIG

from weft.config.log_format import LOG_FORMAT, LOG_TIME
from weft.server.audit import REFUSALS
from weft.server.options import ServerOptions

_LINE = '%(client_addr)s "%(request_line)s" %(status_code)s'      # names of uvicorn's formatter
_POLLED = ("/metrics", "/health", "/ping", "/load")      # monitoring requests these every few seconds
# The audit writes their lines, with reasons and a limit. A 404 has no line there unless a route says what is missing.
_AUDITED = REFUSALS - {404}


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


def log_config(options: ServerOptions) -> dict[str, Any]:
    """uvicorn's log configuration: weft's format, on stderr."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["formatters"]["default"] = {"format": LOG_FORMAT, "datefmt": LOG_TIME}
    config["formatters"]["access"] |= {"fmt": LOG_FORMAT.replace("%(message)s", _LINE), "datefmt": LOG_TIME}
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    config["filters"] = {"access": {"()": AccessFilter, "paths": options.silent_paths}}
    config["handlers"]["access"]["filters"] = ["access"]
    return config
