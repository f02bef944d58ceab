"""An engine in a child process: driven, killed, started again, and gone when its parent is."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time

import psutil
import pytest
from toy_engine import BROKEN_CORE, CORE, DYING_CORE, EOS, SLOW_CORE, make_config

from weft.engine.process.attempts import Attempts
from weft.engine.process.messages import EngineRequest, EngineStats, StepResult
from weft.engine.process.process_client import ProcessClient
from weft.engine.process.resume import StatsTotal
from weft.engine.process.spare import Spare
from weft.engine.process.wire import Rejected, from_wire
from weft.errors import ConfigError, EngineDeadError, QueueFullError, RequestError, WeftError
from weft.sampling_params import SamplingParams

WAIT_S = 30


class Engine:
    """A client and what it delivered."""

    def __init__(self, core: str = CORE, **options) -> None:
        self.events: queue.Queue = queue.Queue()
        self.client = ProcessClient(make_config(None, max_model_len=10_000), self.events.put, Spare(core), **options)
        self.tokens: dict[str, list[int]] = {}
        self.ends: dict[str, str] = {}
        self.errors: dict[str, str] = {}

    def add(self, request_id: str, prompt: str = "a", **params) -> None:
        params = {"temperature": 0.0, "max_tokens": 5, "seed": 1} | params
        self.client.add(EngineRequest(
            request_id=request_id, prompt_token_ids=list(prompt.encode()), params=SamplingParams(**params),
            eos_token_ids=[EOS], arrival_time=time.monotonic()))

    def next(self):
        """The next event; a step is noted."""
        event = self.events.get(timeout=WAIT_S)
        if isinstance(event, StepResult):
            for output in event.outputs:
                self.tokens.setdefault(output.request_id, []).extend(output.new_token_ids)
                if output.finish_reason is not None:
                    self.ends[output.request_id] = output.finish_reason
                    self.errors[output.request_id] = output.error
        return event

    def run(self, *request_ids: str) -> None:
        """Until these have ended."""
        while not self.ends.keys() >= set(request_ids):
            event = self.next()
            assert isinstance(event, StepResult), event

    def text(self, request_id: str) -> str:
        return bytes(self.tokens[request_id]).decode()

    def forget(self) -> None:
        """Forget what was delivered."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.events.get_nowait()
        self.tokens, self.ends, self.errors = {}, {}, {}

    def kill(self) -> None:
        os.kill(self.client.pid, signal.SIGKILL)


@pytest.fixture
def start():
    """start(core, …) is a running engine, ended after the test."""
    engines = []

    def make(core: str = CORE, **options) -> Engine:
        engines.append(Engine(core, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.client.close()


@pytest.fixture(scope="module")
def shared():
    made = Engine()
    yield made
    made.client.close()


@pytest.fixture
def engine(shared):
    """A running engine, for tests that leave it as it was: each start takes a second."""
    yield shared
    shared.client.check_health()
    shared.forget()


def test_sequences_run_to_their_end_side_by_side(engine):
    for request_id, prompt in (("r", "a"), ("s", "w")):
        engine.add(request_id, prompt)

    engine.run("r", "s")

    assert (engine.text("r"), engine.ends["r"]) == ("bcdef", "length")
    assert (engine.tokens["s"], engine.ends["s"]) == ([*b"xyz", EOS], "stop")


def test_an_engine_that_cannot_start_raises_its_own_error_here():
    with pytest.raises(ConfigError, match=r"rope_scaling.rope_type = 'spiral' \(in config.json\): expected default"):
        Engine(BROKEN_CORE)


def test_an_engine_that_ends_while_it_starts_is_reported_with_its_exit_code():
    with pytest.raises(EngineDeadError, match="exit code 7"):
        Engine(DYING_CORE)


@pytest.mark.parametrize(("prompt", "kind"), [("%", RequestError), ("^", QueueFullError)])
def test_a_sequence_that_is_refused_comes_back_alone(engine, prompt, kind):
    engine.add("bad", prompt)

    event = engine.next()

    assert isinstance(event, Rejected)
    assert event.request_id == "bad"
    assert type(from_wire(event.error)) is kind
    engine.add("good")
    engine.run("good")


def test_a_sequence_that_fails_ends_alone(engine):
    engine.add("bad", "a!")
    engine.add("good")

    engine.run("bad", "good")

    assert (engine.ends["bad"], engine.errors["bad"]) == ("error", "RuntimeError: a fault")
    assert engine.text("good") == "bcdef"


def test_a_message_that_cannot_be_read_does_not_end_the_engine(engine):
    engine.client._child.send({"type": "Add", "request": {"request_id": "bad", "params": {"temperature": "hot"}}})
    engine.client._child.send(["nonsense"])

    engine.add("good")
    engine.run("good")

    assert engine.text("good") == "bcdef"


def test_an_aborted_sequence_says_nothing_more(start):
    engine = start(SLOW_CORE)
    engine.add("long", max_tokens=9_000, ignore_eos=True)
    engine.next()

    engine.client.abort(["long", "unknown"])
    num_tokens = len(engine.tokens["long"])
    engine.add("next")
    engine.run("next")

    assert len(engine.tokens["long"]) <= num_tokens + 1      # one step may have been on its way
    assert engine.client.stats.num_running == 0


def test_after_a_kill_the_sequences_go_on_with_the_same_tokens(start):
    engine = start(SLOW_CORE)
    params = {"temperature": 1.0, "max_tokens": 60, "seed": 11}
    engine.add("whole", **params)
    engine.run("whole")
    engine.add("cut", **params)
    engine.next(), engine.next()
    first = engine.client.pid

    engine.kill()
    engine.run("cut")

    assert engine.tokens["cut"] == engine.tokens["whole"]
    assert engine.client.pid not in (first, None)
    engine.client.check_health()


def test_counters_go_on_over_a_restart(start):
    engine = start()
    engine.add("r", "a#")      # ends the process after two tokens, once

    engine.run("r")

    assert engine.text("r") == "abcde"
    assert engine.client.stats.generation_tokens == 5
    assert engine.client.stats.num_deaths == 1


def test_deaths_are_counted_over_the_engines_of_a_model():
    """A server's model may leave and come back, with an engine that counts its own deaths."""
    model, engine = StatsTotal(), StatsTotal()
    for _ in range(2):
        engine.died()
        engine.restart()
    assert model.add(engine.add(EngineStats())).num_deaths == 2

    model.restart()
    engine = StatsTotal()
    assert model.add(engine.latest).num_deaths == 2
    engine.died()
    assert model.add(engine.latest).num_deaths == 3


def test_prompt_logprobs_are_delivered_once_over_a_restart(start):
    engine = start()
    engine.add("r", "abc#", prompt_logprobs=0)

    positions = 0
    while "r" not in engine.ends:
        event = engine.next()
        positions += sum(len(output.prompt_logprobs or []) for output in event.outputs)

    assert positions == 3


def test_only_the_sequence_that_ends_the_engine_is_failed_and_the_others_lose_no_token(start):
    engine = start()
    good = {f"good {i}": chr(ord("a") + i) for i in range(6)}
    for request_id, prompt in good.items():
        engine.add(request_id, prompt)
    engine.add("poison", "a$")
    engine.add("late", "b")

    engine.run("poison", "late", *good)

    assert engine.ends["poison"] == "error"
    assert "computed alone" in engine.errors["poison"]
    assert engine.text("late") == "cdefg"
    for request_id, prompt in good.items():
        assert engine.text(request_id) == "".join(chr(ord(prompt) + 1 + i) for i in range(5))
    engine.client.check_health()


def test_deaths_while_loading_count_for_no_sequence(start):
    engine = start(SLOW_CORE)
    for i in range(8):
        engine.add(f"r{i}", max_tokens=30, ignore_eos=True)
    while len(engine.tokens) < 8:
        engine.next()

    engine.kill()
    for _ in range(3):
        child = next_child(engine)
        child.kill()
        with contextlib.suppress(ChildProcessError):      # its owner may have waited for it by now
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    engine.run(*(f"r{i}" for i in range(8)))
    assert {*engine.ends.values()} == {"length"}
    assert {len(tokens) for tokens in engine.tokens.values()} == {30}


def next_child(engine: Engine) -> psutil.Process:
    """The process of a restart, as soon as there is one that is not ready."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
        if children and engine.client.pid is None:
            return children[0]
    raise TimeoutError("the engine was not started again")


def test_an_engine_that_dies_again_and_again_without_an_output_stays_down(start):
    engine = start(attempts=Attempts(max_vain=2))
    pid = engine.client.pid
    engine.kill()
    deadline = time.monotonic() + WAIT_S
    while engine.client.pid in (pid, None) and time.monotonic() < deadline:
        time.sleep(0.01)
    engine.kill()

    event = engine.next()

    assert isinstance(event, EngineDeadError)
    assert "2 starts in a row that brought no output" in str(event)
    with pytest.raises(EngineDeadError):
        engine.client.check_health()
    with pytest.raises(EngineDeadError):
        engine.add("late")


def test_an_abort_during_a_restart_reaches_nobody(start):
    engine = start(SLOW_CORE)
    engine.add("cut", max_tokens=9_000, ignore_eos=True)
    engine.next()

    engine.kill()
    engine.client.abort(["cut"])
    engine.add("next")
    engine.run("next")

    assert "cut" not in engine.ends
    assert engine.client.stats.num_running == 0


def test_methods_are_called_in_the_child(engine):
    client = engine.client

    assert client.call("reset_prefix_cache").result(WAIT_S) is True
    assert client.call("collective_rpc", "ping", args=[1, "x"], kwargs={"k": 2}).result(WAIT_S) == [
        ["ping", [1, "x"], {"k": 2}]]
    with pytest.raises(WeftError, match="no method 'fail'"):
        client.call("collective_rpc", "fail", args=[], kwargs={}).result(WAIT_S)
    with pytest.raises(WeftError, match=r"os\.system"):
        client.call("os.system", "true").result(WAIT_S)


def test_closing_ends_the_child(start):
    engine = start()
    pid = engine.client.pid

    engine.client.close()
    engine.client.close()

    assert not psutil.pid_exists(pid)
    with pytest.raises(EngineDeadError, match="closed"):
        engine.add("late")


def test_the_child_does_not_end_on_an_interrupt_from_the_terminal(engine):
    child = psutil.Process(engine.client.pid)
    assert os.getpgid(child.pid) != os.getpgid(0)

    child.send_signal(signal.SIGINT)
    engine.add("r")
    engine.run("r")

    assert engine.client.pid == child.pid


PARENT = """
import sys, time
sys.path[:] = {path!r}
from toy_engine import SLOW_CORE, make_config
from weft.engine.process.process_client import ProcessClient
from weft.engine.process.resume import StatsTotal
from weft.engine.process.spare import Spare
client = ProcessClient(make_config(None), print, Spare(SLOW_CORE))
print(client.pid, flush=True)
time.sleep(600)
"""


def test_no_engine_outlives_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(path=sys.path)], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))

    parent.kill()
    parent.communicate()

    child.wait(WAIT_S)      # raises when it still runs
