"""Work in a process of its own has limits, one after the other for all threads, and ends with its owner."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from waiting import until

from weft.errors import WeftError
from weft.isolated.process import IsolatedProcess, ProcessEndedError

HERE = "test_isolated_process"


def working(setup: bytes):
    def work(body: bytes) -> bytes:
        match body:
            case b"memory":
                return bytes(len(bytearray(1 << 30)))
            case b"file":
                with tempfile.TemporaryFile() as file:
                    file.write(b"x")
            case b"sleep":
                time.sleep(60)
        return setup + body[::-1]

    return work


@pytest.fixture
def process():
    made = IsolatedProcess(f"{HERE}:working", "works", max_bytes=256 << 20, setup=lambda: b"<")
    yield made
    made.close()


def test_answers_are_those_of_the_function_for_large_bytes_and_many_threads(process):
    bodies = [bytes([i]) * (4 << 20) + b"end" for i in range(6)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda body: process.ask(body, 30, 8 << 20), bodies))

    assert answers == [b"<" + body[::-1] for body in bodies]


@pytest.mark.parametrize(("body", "late"), [(b"memory", False), (b"file", False), (b"sleep", True), (b"abcdef", False)])
def test_what_goes_beyond_its_limits_ends_the_process_and_the_next_work_gets_another(process, body, late):
    with pytest.raises(ProcessEndedError) as ended:
        process.ask(body, 0.5 if late else 30, 5)
    assert (ended.value.exit_code is None) == late

    assert process.ask(b"ab", 30, 5) == b"<ba"


def test_a_function_that_is_not_there_is_told_as_the_start_that_failed():
    process = IsolatedProcess(f"{HERE}:nothing", "works", max_bytes=1 << 28)

    with pytest.raises(WeftError, match=r"The process that works ended at its start \(exit code 1\)"):
        process.ask(b"", 1, 5)


def test_it_ends_with_a_parent_that_is_killed():
    code = (f"import sys, time; from weft.isolated.process import IsolatedProcess; "
            f"p = IsolatedProcess('{HERE}:working', 'works', max_bytes=1 << 28); p.ask(b'', 30, 5); "
            "print(p.pid, flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.path[:] = sys.argv[2:]; exec(sys.argv[1])", code,
                           *sys.path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()

    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
