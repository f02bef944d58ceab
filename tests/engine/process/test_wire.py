"""Messages cross whole, in order, in any cut; errors come back as what they were."""

from __future__ import annotations

import socket

import msgspec
import pytest

from weft.engine.process.messages import EngineOutput, EngineRequest, EngineStats, StepResult, TokenLogprobs
from weft.engine.process.wire import Abort, Add, Channel, FromEngine, Stepped, ToEngine, from_wire, to_wire
from weft.errors import CheckpointError, MemoryPlanError, NotBuiltError, QueueFullError, RequestError, WeftError
from weft.sampling_params import SamplingParams


@pytest.fixture
def ends():
    ours, theirs = (Channel(s) for s in socket.socketpair())
    yield ours, theirs
    for channel in (ours, theirs):
        channel.shutdown()
        channel.close()


def receive_all(channel, count, kind):
    frames = []
    while len(frames) < count:
        frames += channel.receive(timeout_ms=None)
    return [msgspec.msgpack.decode(frame, type=kind) for frame in frames]


def test_messages_arrive_whole_and_in_order(ends):
    ours, theirs = ends
    add = Add(EngineRequest(request_id="r", prompt_token_ids=list(range(5000)), params=SamplingParams(seed=7),
                            eos_token_ids=[2], arrival_time=1.5, bad_words_token_ids=[[1, 2]], output_token_ids=[9]))
    ours.send(add)
    ours.send(Abort(["r", "s"]))

    assert receive_all(theirs, 2, ToEngine) == [add, Abort(["r", "s"])]


def test_a_step_crosses_with_its_logprobs(ends):
    ours, theirs = ends
    step = Stepped(StepResult(stats=EngineStats(num_steps=3), outputs=[EngineOutput(
        request_id="r", new_token_ids=[5], logprobs=[TokenLogprobs([5], [float("-inf")], [1])], stop_reason=5)]))
    ours.send(step)

    assert receive_all(theirs, 1, FromEngine) == [step]


def test_with_a_timeout_of_zero_nothing_is_waited_for(ends):
    assert ends[0].receive(timeout_ms=0) == []


def test_the_end_of_the_other_side_is_an_eof(ends):
    ours, theirs = ends
    theirs.shutdown()

    with pytest.raises(EOFError):
        ours.receive(timeout_ms=None)


@pytest.mark.parametrize("error", [
    RequestError("prompt", 70, expected="fewer tokens", hint="Shorten it."),
    NotBuiltError("quantization", "awq", expected="None", source="config.json"),
    QueueFullError("3 wait, 3 may."),
    CheckpointError("two\nlines"),
    MemoryPlanError("need 3 GiB, have 2 GiB"),
])
def test_an_error_comes_back_with_its_class_and_text(error):
    back = from_wire(msgspec.msgpack.decode(msgspec.msgpack.encode(to_wire(error)), type=type(to_wire(error))))

    assert type(back) is type(error)
    assert str(back) == str(error)
    assert getattr(back, "field", None) == getattr(error, "field", None)


def test_a_foreign_exception_comes_back_as_a_weft_error_that_names_it():
    back = from_wire(to_wire(KeyError("x")))

    assert type(back) is WeftError
    assert str(back) == "KeyError: 'x'"
