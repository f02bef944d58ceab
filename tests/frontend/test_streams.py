"""The hand-over to a reader that may be slow."""

from __future__ import annotations

import asyncio

import pytest

from weft.frontend.streams import OutputStream
from weft.outputs import CompletionOutput, Logprob, RequestOutput
from weft.sampling_params import RequestOutputKind

DELTA, CUMULATIVE = RequestOutputKind.DELTA, RequestOutputKind.CUMULATIVE


def output(*answers: CompletionOutput, finished=False, prompt_logprobs=None) -> RequestOutput:
    return RequestOutput(request_id="r", prompt=None, prompt_token_ids=[1], outputs=list(answers), finished=finished,
                         prompt_logprobs=prompt_logprobs)


def answer(index: int, text: str, **fields) -> CompletionOutput:
    return CompletionOutput(index=index, text=text, token_ids=list(text.encode()), **fields)


async def test_outputs_come_one_by_one_to_a_quick_reader():
    stream = OutputStream(DELTA)
    stream.put(output(answer(0, "a")))
    first = await stream.get()
    stream.put(output(answer(0, "b")))

    assert (first.outputs[0].text, (await stream.get()).outputs[0].text) == ("a", "b")


async def test_deltas_that_a_slow_reader_missed_are_joined_answer_by_answer():
    stream = OutputStream(DELTA)
    stream.put(output(answer(0, "a", logprobs=[{97: Logprob(-1.0)}]), prompt_logprobs=[None]))
    stream.put(output(answer(1, "x")))
    stream.put(output(answer(0, "b", logprobs=[{98: Logprob(-2.0)}], finish_reason="stop"), finished=True))

    merged = await stream.get()

    assert [(a.index, a.text, a.token_ids, a.finish_reason) for a in merged.outputs] == [
        (0, "ab", [97, 98], "stop"), (1, "x", [120], None)]
    assert merged.outputs[0].logprobs == [{97: Logprob(-1.0)}, {98: Logprob(-2.0)}]
    assert (merged.finished, merged.prompt_logprobs) == (True, [None])


async def test_of_cumulative_outputs_the_last_is_enough():
    stream = OutputStream(CUMULATIVE)
    stream.put(output(answer(0, "a")))
    stream.put(output(answer(0, "ab")))

    assert (await stream.get()).outputs[0].text == "ab"


async def test_a_reader_waits_for_what_is_to_come():
    stream = OutputStream(DELTA)
    reader = asyncio.create_task(stream.get())
    await asyncio.sleep(0)
    assert not reader.done()

    stream.put(output(answer(0, "a")))

    assert (await reader).outputs[0].text == "a"


async def test_an_error_comes_after_what_was_waiting_and_nothing_after_it():
    stream = OutputStream(DELTA)
    stream.put(output(answer(0, "a")))
    stream.fail(ValueError("gone"))
    stream.put(output(answer(0, "b")))

    assert (await stream.get()).outputs[0].text == "a"
    for _ in range(2):
        with pytest.raises(ValueError, match="gone"):
            await stream.get()
