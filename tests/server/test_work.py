"""Kinds of work have threads of their own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from pathlib import Path

import weft.server
from weft.server.work import Work

WORD = contextvars.ContextVar("word", default="none")


def test_one_kind_of_work_that_stands_still_keeps_no_other_waiting():
    async def main() -> None:
        work, gate = Work(), threading.Event()
        stuck = [asyncio.create_task(work.bodies.run(gate.wait)) for _ in range(5)]
        for threads in (work.prompts, work.answers, work.numbers):
            assert await asyncio.wait_for(threads.run(sum, [1, 2]), 10) == 3
        assert not any(task.done() for task in stuck)
        gate.set()
        await asyncio.gather(*stuck)

    asyncio.run(main())


def test_work_sees_the_callers_context():
    async def main() -> str:
        WORD.set("here")
        return await Work().answers.run(WORD.get)

    assert asyncio.run(main()) == "here"


def test_nothing_in_the_server_uses_the_threads_that_all_of_asyncio_shares():
    package = Path(weft.server.__file__).parent

    assert [str(file) for file in package.rglob("*.py")
            if "to_thread(" in (text := file.read_text()) or "run_in_executor(" in text] == []
