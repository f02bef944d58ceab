"""A hub in this process, an empty cache, no token, and no waiting between tries."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import FakeHub
from huggingface_hub import constants

from weft.resolve.sources.repository import Access
from weft.resolve.sources.retry import Backoff

VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WEFT_USE_MODELSCOPE", "VLLM_USE_MODELSCOPE",
             "WEFT_MODEL_REDIRECT_PATH", "VLLM_MODEL_REDIRECT_PATH")


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[FakeHub]:
    """The hub that names are looked up on."""
    server = FakeHub()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path) -> Path:
    """Where the hub's files are kept."""
    return tmp_path / "cache"


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited between tries, by weft and by huggingface_hub, without having been waited."""
    waited: list[float] = []
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda s: waited.append(s) if s >= 0.5 else real(s))
    return waited


@pytest.fixture
def access(waits) -> Access:
    """The usual access, whose tries follow each other at once."""
    return Access(backoff=Backoff(num_tries=3, sleep=waits.append))


@pytest.fixture(autouse=True)
def interruptible():
    """SIGINT is a KeyboardInterrupt, also where the tests run in the background of a shell that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
