"""`Backoff`: how often and how soon a failed request is tried again. Callers decide which errors are worth a retry."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits double from first_s to longest_s seconds. A server that asks for more than patience_s is not retried."""

    num_tries: int = 5
    first_s: float = 1.0
    longest_s: float = 20.0
    patience_s: float = 300.0
    sleep: Callable[[float], None] = time.sleep


def with_retries(call: Callable[[], T], backoff: Backoff, wait_for: Callable[[Exception], float | None]) -> T:
    """The result of `call`, retried on errors.

    wait_for(error) returns the seconds that the server asked for, 0 for the backoff's own wait, or None: do not retry.
    """
    for number in range(1, backoff.num_tries + 1):
        try:
            return call()
        except Exception as error:
            asked = wait_for(error)
            if asked is None or number == backoff.num_tries or asked > backoff.patience_s:
                raise
            wait = asked or min(backoff.first_s * 2 ** (number - 1), backoff.longest_s)
            logger.warning("try %d of %d failed (%s); the next in %g s", number, backoff.num_tries,
                           f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", wait)
            backoff.sleep(wait)
    raise AssertionError("num_tries is at least 1")


def retry_after_s(header: str | None) -> float:
    """Seconds of a Retry-After header, which is a number or a date; 0 without a header or when it is neither."""
    if not header:
        return 0.0
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
