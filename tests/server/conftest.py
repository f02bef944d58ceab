"""Servers that end with the test that started them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine
from http_server import running_server

from weft.server.options import ServerOptions


@pytest.fixture
def engine() -> FakeEngine:
    """Says the same few letters to everyone."""
    return FakeEngine("Hé you")


@pytest.fixture
def url(engine, start_server) -> str:
    """A server of `engine`."""
    return start_server(engine)


@pytest.fixture(scope="module")
def shared_url() -> Iterator[str]:
    """A server for requests that leave nothing behind."""
    with running_server(FakeEngine("Hé you"), ServerOptions()) as url:
        yield url


@pytest.fixture
def start_server() -> Iterator:
    """start_server(engine, **options) -> URL; all that were started end with the test."""
    with contextlib.ExitStack() as stack:
        def start(engine, **options) -> str:
            return stack.enter_context(running_server(engine, ServerOptions(**options)))

        yield start
