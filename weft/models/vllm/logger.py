"""`init_logger`: loggers as model files of vLLM use them, with lines that are written once."""

from __future__ import annotations

import logging
from typing import Any


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """A logger with `warning_once` and the like: the same line is written once in a process."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})
        self._said: set[tuple[int, str, tuple[Any, ...]]] = set()

    def _once(self, level: int, message: str, *args: Any, **unused: Any) -> None:
        key = level, message, tuple(map(str, args))
        if key not in self._said:
            self._said.add(key)
            self.log(level, message, *args)

    def debug_once(self, message: str, *args: Any, **unused: Any) -> None:
        """As `debug`, once. unused: vLLM's `scope`."""
        self._once(logging.DEBUG, message, *args)

    def info_once(self, message: str, *args: Any, **unused: Any) -> None:
        """As `info`, once."""
        self._once(logging.INFO, message, *args)

    def warning_once(self, message: str, *args: Any, **unused: Any) -> None:
        """As `warning`, once."""
        self._once(logging.WARNING, message, *args)


def init_logger(name: str) -> _Logger:
    """The logger of a module."""
    return _Logger(logging.getLogger(name))


logger = init_logger("vllm")
