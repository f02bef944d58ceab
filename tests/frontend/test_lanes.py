"""Prompts are read in two lanes: a long text holds up long ones only, and neither lane grows without bound."""

from __future__ import annotations

import asyncio
import threading

import pytest

from weft.errors import QueueFullError
from weft.frontend.lanes import LONG_CHARS, MAX_QUEUED_CHARS, Lanes, num_chars


@pytest.fixture
def lanes():
    found = Lanes()
    yield found
    found.close()


async def test_a_short_text_does_not_wait_for_a_long_one(lanes):
    is_read = threading.Event()
    long = asyncio.ensure_future(lanes.run(is_read.wait, LONG_CHARS + 1))

    short = await lanes.run(lambda: "short", LONG_CHARS)      # would not return behind the long one
    is_read.set()

    assert (short, await long) == ("short", True)


async def test_texts_of_one_lane_are_read_in_their_order(lanes):
    read: list[int] = []

    await asyncio.gather(*(lanes.run(lambda i=i: read.append(i), 1) for i in range(20)))

    assert read == [*range(20)]


async def test_more_characters_than_may_wait_are_refused_and_taken_again_later(lanes):
    is_read = threading.Event()
    first = asyncio.ensure_future(lanes.run(is_read.wait, MAX_QUEUED_CHARS))
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError, match=f"{MAX_QUEUED_CHARS} may"):
        await lanes.run(lambda: None, LONG_CHARS + 1)
    is_read.set()
    await first

    assert await lanes.run(lambda: "read", MAX_QUEUED_CHARS + 1) == "read"      # alone any text is read


async def test_a_text_whose_client_left_is_not_read(lanes):
    is_read, read = threading.Event(), []
    first = asyncio.ensure_future(lanes.run(is_read.wait, 1))
    second = asyncio.ensure_future(lanes.run(lambda: read.append(2), 1))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    is_read.set()
    await first

    await lanes.run(lambda: read.append(3), 1)

    assert read == [3]


async def test_a_lane_that_stands_still_says_so_until_it_moves(lanes):
    assert lanes.complaint(0) is None
    is_read = threading.Event()
    text = asyncio.ensure_future(lanes.run(is_read.wait, 1))
    await asyncio.sleep(0)

    assert lanes.complaint(0).startswith("1 short prompts are to be read")
    assert lanes.complaint(3600) is None
    is_read.set()
    await text
    assert lanes.complaint(0) is None


@pytest.mark.parametrize("prompt, chars", [
    ("four", 4), ({"prompt": "four", "cache_salt": None}, 4), ([1, 2, 3], 0),
    ([{"role": "user", "content": [{"type": "text", "text": "abc"}]}], 11)])
def test_characters_are_counted_in_every_form_of_a_prompt(prompt, chars):
    assert num_chars(prompt) == chars
