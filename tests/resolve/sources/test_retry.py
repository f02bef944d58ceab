"""Trying again: how often, how soon, and when not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from weft.resolve.sources.retry import Backoff, retry_after_s, with_retries


def failing(times: int):
    errors = iter([OSError("busy")] * times)

    def call() -> str:
        for error in errors:
            raise error
        return "done"

    return call


def test_waits_double_up_to_the_longest():
    waited: list[float] = []
    backoff = Backoff(num_tries=6, first_s=1, longest_s=5, sleep=waited.append)

    assert with_retries(failing(5), backoff, lambda error: 0.0) == "done"
    assert waited == [1, 2, 4, 5, 5]


def test_the_last_error_comes_out_when_no_try_is_left():
    with pytest.raises(OSError, match="busy"):
        with_retries(failing(3), Backoff(num_tries=3, sleep=lambda s: None), lambda error: 0.0)


def test_an_error_that_does_not_pass_is_not_tried_again():
    waited: list[float] = []

    with pytest.raises(OSError, match="busy"):
        with_retries(failing(1), Backoff(sleep=waited.append), lambda error: None)
    assert waited == []


def test_a_retry_after_is_seconds_or_a_date():
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60))

    assert retry_after_s("12") == 12
    assert 55 < retry_after_s(in_a_minute) <= 60
    assert [retry_after_s(header) for header in (None, "", "soon", "Mon, 01 Jan 2001 00:00:00 GMT")] == [0, 0, 0, 0]
