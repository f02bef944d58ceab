"""Servers that end with the test that started them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from http_server import running_server

from weft.server.options import ServerOptions


@pytest.fixture
def start_server() -> Iterator:
    """start_server(engine, **options) -> URL; all that were started end with the test."""
    with contextlib.ExitStack() as stack:
        def start(engine, **options) -> str:
            return stack.enter_context(running_server(engine, ServerOptions(**options)))

        yield start
