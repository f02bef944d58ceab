"""A process that waits to become an engine: what becomes of it where it is not needed, and where it cannot import."""

from __future__ import annotations

import os
import queue
import subprocess
import sys

import psutil
import pytest
from toy_engine import CORE, make_config
from waiting import until

from weft.engine.process.process_client import ProcessClient
from weft.engine.process.spare import Spare, Spares
from weft.errors import EngineDeadError, WeftError

WAIT_S = 30


def test_the_engine_is_the_process_that_waited():
    with Spare(CORE) as spare:
        assert spare.is_alive
        client = ProcessClient(make_config(None), lambda event: None, spare)
        try:
            assert client.pid == spare.pid
            assert not spare.is_alive      # it is the client's now
        finally:
            client.close()


def test_a_spare_that_nobody_took_ends_with_its_block():
    with Spare(CORE) as spare:
        process = psutil.Process(spare.pid)

    assert not process.is_running()


def test_a_spare_that_cannot_import_says_so_when_it_is_used():
    with Spare("no_such_module:core") as spare, pytest.raises(WeftError, match="No module named 'no_such_module'"):
        ProcessClient(make_config(None), queue.Queue().put, spare)


def test_a_spare_that_was_killed_meanwhile_is_an_engine_that_did_not_start():
    with Spare(CORE) as spare:
        psutil.Process(spare.pid).kill()
        with pytest.raises(EngineDeadError, match="exit code -9"):
            ProcessClient(make_config(None), queue.Queue().put, spare)


@pytest.fixture
def spares():
    found = Spares(CORE, keeps=True, delay_s=0)
    yield found
    found.close()


@pytest.fixture
def new_children():
    """The children of this process that the test has started; other tests' may still be ending."""
    old = set(psutil.Process().children())
    return lambda: [child for child in psutil.Process().children() if child not in old]


def test_the_process_that_waits_is_the_next_one(new_children, spares):
    spares.refill()
    waiting, = until(new_children)

    with spares.take() as spare:
        assert spare.pid == waiting.pid


def test_a_waiting_process_that_was_killed_is_not_the_next_one(new_children, spares):
    spares.refill()
    waiting, = until(new_children)
    waiting.kill()
    os.waitid(os.P_PID, waiting.pid, os.WEXITED | os.WNOWAIT)      # leaves it to its owner

    with spares.take() as spare:
        assert spare.pid != waiting.pid
        assert spare.is_alive


def test_no_process_waits_where_none_is_to_be_kept(new_children):
    spares = Spares(CORE, keeps=False, delay_s=0)
    spares.refill()

    with spares.take() as spare:
        assert [child.pid for child in new_children()] == [spare.pid]


PARENT = """
import sys, time
sys.path[:] = {path!r}
from weft.engine.process.spare import Spare, Spares
print(Spare("toy_engine:ToyCore").pid, flush=True)
time.sleep(600)
"""


def test_no_spare_outlives_a_parent_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT.format(path=sys.path)], stdout=subprocess.PIPE,
                          text=True) as parent:
        spare = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    spare.wait(WAIT_S)      # raises when it still runs


def test_a_server_that_cannot_start_leaves_no_process():
    # The pipes reach their end when nobody holds them any more: `run` would wait for a process that was left behind.
    ended = subprocess.run([sys.executable, "-m", "weft.cli.main", "serve", "/no/such/model", "--port", "0"],
                           capture_output=True, text=True, timeout=WAIT_S * 2, check=False)

    assert ended.returncode == 1
    assert "/no/such/model" in ended.stderr
