"""An engine whose process is ended on purpose, and started again when it is wanted."""

from __future__ import annotations

import os
import queue
import signal
import threading

import psutil
import pytest
from toy_engine import BROKEN_CORE, CORE, make_config

from weft.engine.process.process_client import ProcessClient
from weft.engine.process.progress import Progress
from weft.engine.process.spare import Spare, Spares
from weft.errors import EngineDeadError


@pytest.fixture
def client():
    client = ProcessClient(make_config(None), queue.Queue().put, Spare(CORE))
    yield client
    client.close()


def test_a_resting_engine_has_no_process_and_wakes_up_with_another(client):
    before = psutil.Process(client.pid)

    client.rest()

    assert client.is_resting and client.pid is None and not before.is_running()
    assert client.complaint(0.0) is None
    for use in (lambda: client.call("reset_prefix_cache"), client.rest):
        with pytest.raises(EngineDeadError, match="sleeps: wake it up"):
            use()

    client.wake()

    assert not client.is_resting and client.pid != before.pid
    assert client.call("reset_prefix_cache").result(20) is True
    client.wake()                                            # nothing to do


def test_a_closed_engine_does_not_wake_up(client):
    client.rest()
    client.close()

    with pytest.raises(EngineDeadError, match="The engine is closed"):
        client.wake()


def test_an_engine_that_cannot_wake_up_is_down():
    spares = Spares(BROKEN_CORE, keeps=False)
    client = ProcessClient(make_config(None), queue.Queue().put, Spare(CORE), spares=spares)
    try:
        client._attempts.max_vain = 1
        client.rest()
        errors = queue.Queue()

        def wake() -> None:
            try:
                client.wake()
            except EngineDeadError as error:
                errors.put(error)

        threading.Thread(target=wake).start()

        assert "could not be started again" in str(errors.get(timeout=60))
        assert client.dead_error is not None
    finally:
        client.close()


def test_nothing_is_wrong_with_a_rest_and_its_end_has_a_limit():
    progress = Progress(0.0)
    progress.rests()
    assert progress.complaint(100.0, 5.0, num_open=3) is None
    progress.died(100.0)
    assert progress.complaint(104.0, 5.0, num_open=0) is None
    assert "not back after 6 s" in progress.complaint(106.0, 5.0, num_open=0)


def test_a_call_that_the_rest_cuts_fails_at_once(client, monkeypatch):
    monkeypatch.setattr("weft.engine.process.child._CLOSE_S", 0.1)
    os.kill(client.pid, signal.SIGSTOP)                      # so that it does not answer before it ends
    call = client.call("reset_prefix_cache")

    client.rest()

    with pytest.raises(EngineDeadError, match="sleeps: wake it up"):
        call.result(20)
