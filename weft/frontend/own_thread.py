"""`in_own_thread`: blocking work that takes seconds, such as loading a model, in a thread made for this one call.

Such work waits for no other work, and no other work waits for such work: no pool of threads is shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_own_thread(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `func`. Work whose caller is cancelled goes on to its end, unobserved; the program's end waits."""
    threads = ThreadPoolExecutor(1, thread_name_prefix="weft-own")
    try:
        return await asyncio.wrap_future(threads.submit(func, *args, **kwargs))
    finally:
        threads.shutdown(wait=False)
