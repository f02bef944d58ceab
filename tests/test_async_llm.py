"""AsyncLLM on the toy engine in a child process: streams, aborts, failures, restarts, loops and observers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import psutil
import pytest
import torch
from toy_engine import CORE, POOLING_CORE, SLOW_CORE, make_config

from weft import async_llm
from weft.async_llm import AsyncLLM
from weft.engine.process.attempts import Attempts
from weft.engine.process.spare import Spare
from weft.errors import EngineDeadError, NotBuiltError, QueueFullError, RequestError, WeftError
from weft.pooling_params import PoolingParams
from weft.sampling_params import RequestOutputKind, SamplingParams

DELTA = RequestOutputKind.DELTA
GREEDY = SamplingParams(temperature=0.0, max_tokens=3)
LONG = SamplingParams(max_tokens=None, ignore_eos=True, output_kind=DELTA)


class Recorder:
    """An observer."""

    def __init__(self) -> None:
        self.finished, self.pooled = [], []
        self.num_steps = 0
        self.is_broken = False

    def on_step(self, stats) -> None:
        self.num_steps += 1
        if self.is_broken:
            raise RuntimeError("a broken observer")

    def on_finished(self, output, params) -> None:
        self.finished.append(output)

    def on_pooled(self, record) -> None:
        self.pooled.append(record)


@pytest.fixture(scope="module")
def shared(toy_tokenizer):
    """One engine for the tests that do not end it; made in another thread, as servers do."""
    made = []
    thread = threading.Thread(target=lambda: made.append(
        AsyncLLM(make_config(toy_tokenizer, max_model_len=20_000), Spare(SLOW_CORE))))
    thread.start()
    thread.join()
    yield made[0]
    made[0].shutdown()


@pytest.fixture
def own(toy_tokenizer):
    """An engine for one test that ends it."""
    llm = AsyncLLM(make_config(toy_tokenizer, max_model_len=20_000), Spare(SLOW_CORE))
    yield llm
    llm.shutdown()


@pytest.fixture
def recorder(shared):
    recorder = Recorder()
    shared.add_observer(recorder)
    yield recorder
    shared._requests.observers.remove(recorder)


async def collect(llm, prompt, params=GREEDY, request_id="r", **options):
    return [output async for output in llm.generate(prompt, params, request_id, **options)]


async def until(condition):
    """Wait until it holds; the test's time limit ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.005)


async def test_outputs_grow_until_the_last_is_finished(shared):
    outputs = await collect(shared, "abc")

    assert outputs[-1].outputs[0].text == "def"
    assert [o.finished for o in outputs] == [False] * (len(outputs) - 1) + [True]


async def test_deltas_add_up_to_the_text(shared):
    params = SamplingParams(temperature=0.0, max_tokens=20, output_kind=DELTA)

    outputs = await collect(shared, "abc", params)

    assert "".join(o.outputs[0].text for o in outputs) == "defghijklmnopqrstuvw"
    assert [i for o in outputs for i in o.outputs[0].token_ids] == list(b"defghijklmnopqrstuvw")


async def test_a_slow_reader_loses_nothing(shared, recorder):
    params = SamplingParams(temperature=0.0, max_tokens=15, output_kind=DELTA)
    text = ""
    async for output in shared.generate("a", params, "slow"):
        text += output.outputs[0].text
        await until(lambda: recorder.finished)

    assert text == "bcdefghijklmnop"


async def test_many_requests_run_at_once_each_with_its_own_answer(shared):
    letters = "abcdefghij" * 5

    answers = await asyncio.gather(*(collect(shared, letter, request_id=f"m{i}") for i, letter in enumerate(letters)))

    assert [a[-1].outputs[0].text for a in answers] == [
        "".join(chr(ord(letter) + i) for i in (1, 2, 3)) for letter in letters]


async def test_several_answers_of_one_request_are_joined(shared):
    params = SamplingParams(n=3, seed=1, max_tokens=4, output_kind=RequestOutputKind.FINAL_ONLY)

    [output] = await collect(shared, "a", params)

    assert [(a.index, len(a.token_ids), a.finish_reason) for a in output.outputs] == [
        (0, 4, "length"), (1, 4, "length"), (2, 4, "length")]


async def test_a_stop_string_ends_the_sequence_in_the_engine_too(shared, recorder):
    params = SamplingParams(temperature=0.0, max_tokens=None, ignore_eos=True, stop="ef")

    outputs = await collect(shared, "a", params)
    await collect(shared, "a", request_id="after")

    assert outputs[-1].outputs[0].text == "bcd"
    assert outputs[-1].outputs[0].stop_reason == "ef"
    await until(lambda: shared.stats.num_running == 0)


async def test_closing_the_iterator_aborts_the_request(shared, recorder):
    stream = shared.generate("a", LONG, "closed")
    await anext(stream)
    await stream.aclose()

    await collect(shared, "a", request_id="closed")      # the id is free again
    assert recorder.finished[0].outputs[0].finish_reason == "abort"
    await until(lambda: shared.stats.num_running == 0)


async def test_cancelling_the_reader_aborts_the_request(shared, recorder):
    reader = asyncio.create_task(collect(shared, "a", LONG, "cancelled"))
    await until(lambda: recorder.num_steps > 2)

    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert recorder.finished[0].outputs[0].finish_reason == "abort"
    assert await collect(shared, "a")
    await until(lambda: shared.stats.num_running == 0)


async def test_abort_ends_the_iterator_with_a_last_output(shared):
    stream = shared.generate("a", LONG, "aborted")
    await anext(stream)

    await shared.abort("aborted")
    outputs = [output async for output in stream]

    assert outputs[-1].finished
    assert outputs[-1].outputs[0].finish_reason == "abort"
    await shared.abort("unknown")


async def test_an_abort_while_the_prompt_is_tokenized_counts(shared):
    reader = asyncio.create_task(collect(shared, "a", LONG, "early"))
    await asyncio.sleep(0)      # the request is being prepared

    await shared.abort("early")

    assert (await reader)[-1].outputs[0].finish_reason == "abort"


async def test_an_id_in_use_is_refused_and_the_first_request_goes_on(shared):
    stream = shared.generate("a", SamplingParams(temperature=0.0, max_tokens=10), "twice")
    await anext(stream)

    with pytest.raises(RequestError, match="request_id = 'twice'"):
        await collect(shared, "b", request_id="twice")

    assert [o async for o in stream][-1].outputs[0].text == "bcdefghijk"


@pytest.mark.parametrize(("prompt", "params", "kind"), [
    ("", GREEDY, RequestError), ([1, -1], GREEDY, RequestError), ({"promt": 1}, GREEDY, RequestError),
    ("a", None, RequestError), ("%", GREEDY, RequestError), ("^", GREEDY, QueueFullError),
    ("^", SamplingParams(n=3), QueueFullError), ([97] * 20_000, GREEDY, RequestError),
])
async def test_a_wrong_request_raises_in_its_own_iterator(shared, prompt, params, kind):
    with pytest.raises(kind):
        await collect(shared, prompt, params)

    assert (await collect(shared, "a"))[-1].outputs[0].text == "bcd"


async def test_a_request_that_fails_in_the_engine_ends_with_its_error(shared):
    outputs = await collect(shared, "a!", SamplingParams(temperature=0.0, max_tokens=9))

    assert (outputs[-1].finished, outputs[-1].error) == (True, "RuntimeError: a fault")


async def test_observers_are_told_the_whole_answer_and_may_fail(shared, recorder):
    recorder.is_broken = True

    await collect(shared, "a", SamplingParams(temperature=0.0, max_tokens=3, output_kind=DELTA))

    [output] = recorder.finished
    assert (output.outputs[0].text, output.metrics.finished_time is not None) == ("bcd", True)


async def test_prompts_are_encoded_and_cut(shared):
    assert await shared.encode_prompt("abc") == [97, 98, 99]
    assert await shared.encode_prompt("abc", truncate_prompt_tokens=2) == [98, 99]
    with pytest.raises(RequestError):
        await shared.encode_prompt("")


async def test_methods_of_the_engine_are_called(shared):
    await until(lambda: shared.stats.num_running == 0)

    assert await shared.reset_prefix_cache() is True
    assert await shared.collective_rpc("ping", args=(1,)) == [["ping", [1], {}]]
    with pytest.raises(WeftError, match="no method"):
        await shared.collective_rpc("fail")


def test_one_event_loop_after_another_may_use_it(shared):
    for _ in range(2):
        assert asyncio.run(collect(shared, "a"))[-1].outputs[0].text == "bcd"


async def test_a_loop_beside_another_one_with_open_requests_is_refused(shared):
    stream = shared.generate("a", LONG, "open")
    await anext(stream)

    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(collect(shared, "a", request_id="other")))

    await stream.aclose()


async def test_a_killed_engine_is_started_again_and_nobody_notices(own):
    params = SamplingParams(seed=3, max_tokens=60, output_kind=DELTA)
    whole = "".join([o.outputs[0].text for o in await collect(own, "a", params, "whole")])

    pieces = []
    async for output in own.generate("a", params, "cut"):
        pieces.append(output.outputs[0].text)
        if len(pieces) == 3:
            os.kill(own._client.pid, signal.SIGKILL)

    assert "".join(pieces) == whole
    await own.check_health()


async def test_an_engine_that_stays_down_fails_all_that_is_open(own):
    own._client._attempts = Attempts(max_vain=2)
    readers = [asyncio.create_task(collect(own, "a", LONG, f"r{i}")) for i in range(3)]
    others = {child.pid for child in psutil.Process().children()} - {own._client.pid}
    while not own.errored:      # no engine lives long enough to load
        for child in psutil.Process().children():
            if child.pid not in others:
                child.kill()
        await asyncio.sleep(0.01)

    results = await asyncio.gather(*readers, return_exceptions=True)

    assert all(isinstance(result, EngineDeadError) for result in results)
    with pytest.raises(EngineDeadError):
        await own.check_health()
    with pytest.raises(EngineDeadError):
        await collect(own, "a")


@pytest.mark.parametrize("late", ["InputProcessor", "FillInMiddle", "with_max_model_len"])
def test_an_engine_that_cannot_be_completed_leaves_no_process_and_no_thread(toy_tokenizer, monkeypatch, late):
    monkeypatch.setattr(async_llm, late, lambda *_: 1 / 0)
    spare, threads = Spare(SLOW_CORE), set(threading.enumerate())

    with pytest.raises(ZeroDivisionError):
        AsyncLLM(make_config(toy_tokenizer), spare)

    assert not psutil.pid_exists(spare.pid)
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
        assert not thread.is_alive()


async def test_shutting_down_ends_open_requests(own):
    stream = own.generate("a", LONG, "r")
    await anext(stream)

    await asyncio.to_thread(own.shutdown)

    with pytest.raises(EngineDeadError, match="closed"):
        while True:
            await anext(stream)
    with pytest.raises(EngineDeadError):
        await own.encode_prompt("a")


async def one(outputs):
    """The only output of an iterator."""
    [output] = [output async for output in outputs]
    return output


@pytest.fixture(scope="module")
def pooling(toy_tokenizer):
    llm = AsyncLLM(make_config(toy_tokenizer), Spare(POOLING_CORE))
    yield llm
    llm.shutdown()


def test_encode_gives_one_output_beside_others(pooling):
    recorder = Recorder()
    pooling.add_observer(recorder)

    async def main():
        return await asyncio.gather(one(pooling.encode("ab", None, "a")),
                                    one(pooling.encode("abc", PoolingParams(task="embed"), "b")),
                                    one(pooling.encode("a!", None, "c")))

    states, vector, failed = asyncio.run(main())

    assert states.outputs.data.tolist() == [[97, 0], [98, 1]]
    assert vector.outputs.data.tolist() == [294, 3]
    assert (failed.outputs, failed.error) == (None, "RuntimeError: a fault")
    assert recorder.num_steps > 0 and recorder.finished == []
    assert sorted((record.num_prompt_tokens, record.finish_reason) for record in recorder.pooled) == [
        (2, "error"), (2, "stop"), (3, "stop")]
    assert all(record.metrics.finished_time >= record.metrics.arrival_time for record in recorder.pooled)


def test_a_task_that_the_model_is_not_for_is_refused(pooling, shared):
    with pytest.raises(RequestError, match="model's tasks: embed, token_embed"):
        asyncio.run(one(pooling.generate("a", GREEDY, "r")))
    with pytest.raises(RequestError, match="model's tasks: generate"):
        asyncio.run(one(shared.encode("a", None, "r")))
    with pytest.raises(RequestError, match="pooling_params"):
        asyncio.run(one(pooling.encode("a", GREEDY, "r")))


def test_embeddings_cross_to_the_engine_and_again_after_its_end(toy_tokenizer):
    rows = torch.tensor([[float(byte), 0.0] for byte in b"#abc"])
    llm = AsyncLLM(make_config(toy_tokenizer, enable_prompt_embeds=True), Spare(CORE))
    try:
        outputs = llm.generate({"prompt_embeds": rows}, SamplingParams(
            temperature=0.0, max_tokens=4, output_kind=RequestOutputKind.FINAL_ONLY), "r")
        output = asyncio.run(one(outputs))
    finally:
        llm.shutdown()

    assert output.outputs[0].text == "defg"        # the process ended after two tokens


async def test_a_pause_ends_what_runs_and_holds_what_comes(shared):
    running = asyncio.create_task(collect(shared, "a", LONG, "running"))
    await until(lambda: shared._requests.gate.inside)

    await shared.pause_generation()
    ended = await running
    held = asyncio.create_task(collect(shared, "abc", GREEDY, "held"))
    steps = shared.stats.num_steps
    await until(lambda: "held" in shared._requests.gate._held)

    assert ended[-1].outputs[0].finish_reason == "abort"
    assert await shared.is_paused() and not held.done() and shared.stats.num_steps == steps
    await shared.resume_generation()
    assert (await held)[-1].outputs[0].text == "def"
    assert not await shared.is_paused()


async def test_a_pause_can_wait_for_what_runs(shared):
    running = asyncio.create_task(collect(shared, "a", SamplingParams(max_tokens=30, ignore_eos=True), "running"))
    await until(lambda: shared._requests.gate.inside)

    await shared.pause_generation(mode="wait")

    assert running.done() or shared._requests.gate.inside == []
    assert (await running)[-1].outputs[0].finish_reason == "length"
    await shared.resume_generation()


async def test_a_held_request_can_be_aborted(shared):
    await shared.pause_generation()
    held = asyncio.create_task(collect(shared, "abc", GREEDY, "held"))
    await until(lambda: "held" in shared._requests.gate._held)

    await shared.abort("held")

    assert (await held)[-1].outputs[0].finish_reason == "abort"
    await shared.resume_generation()
    assert (await collect(shared, "abc"))[-1].outputs[0].text == "def"


async def test_an_engine_sleeps_until_each_of_its_parts_is_woken(shared):
    await shared.sleep()
    held = asyncio.create_task(collect(shared, "abc"))
    await shared.wake_up(["weights"])
    assert await shared.is_sleeping() and not await shared.is_paused() and not held.done()

    await shared.wake_up(["kv_cache"])

    assert (await held)[-1].outputs[0].text == "def"
    assert not await shared.is_sleeping()


@pytest.mark.parametrize("stop", [lambda llm: llm.sleep(), lambda llm: llm.pause_generation()], ids=["sleep", "pause"])
async def test_a_pause_that_fails_leaves_the_engine_as_it_was(shared, stop, monkeypatch):
    async def fail():
        raise EngineDeadError("It is being started again.")

    with monkeypatch.context() as patch:
        patch.setattr(shared, "reset_prefix_cache", fail)
        with pytest.raises(EngineDeadError):
            await stop(shared)

    assert not shared.is_held and not await shared.is_sleeping()


async def test_what_a_pause_cannot_do_is_refused_and_changes_nothing(shared):
    with pytest.raises(NotBuiltError, match="mode = 'keep'"):
        await shared.pause_generation(mode="keep")
    with pytest.raises(RequestError, match="mode = 'soon'"):
        await shared.pause_generation(mode="soon")
    with pytest.raises(RequestError, match="level = 3"):
        await shared.sleep(level=3)
    with pytest.raises(RequestError, match="tags = 'brain'"):
        await shared.wake_up(["brain"])

    assert not await shared.is_paused() and not await shared.is_sleeping()
