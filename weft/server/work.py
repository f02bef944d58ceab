"""`Work`: the threads of a server for whatever would hold up the event loop, a few for each kind of work.

A kind that is slow, such as the schemas of huge bodies, keeps only its own kind waiting. Prompts have threads of their
own in the engine's `Lanes`. This module knows no route.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_THREADS = 2      # of each kind: one slow piece of work leaves a thread to the others


class Threads:
    """The threads of one kind of work, which is done in the order of its arrival."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"weft-{name}")

    async def run(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `func`, called with the context variables of the caller."""
        call = partial(contextvars.copy_context().run, func, *args, **kwargs)
        return await asyncio.wrap_future(self._pool.submit(call))


@dataclass(frozen=True, slots=True)
class Work:
    """bodies: large bodies of requests become checked fields. prompts: conversations of one API become another's.
    answers: finished answers become JSON. numbers: results of pooling models become scores and JSON.
    """

    bodies: Threads = field(default_factory=lambda: Threads("bodies"))
    prompts: Threads = field(default_factory=lambda: Threads("prompts"))
    answers: Threads = field(default_factory=lambda: Threads("answers"))
    numbers: Threads = field(default_factory=lambda: Threads("numbers"))
