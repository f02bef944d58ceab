"""Many clients stream, and a tenth hang up at random: the others are served, all blocks come back.

    python tests/soak/hang_up.py --clients 500 --seconds 600
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, field

from serving import Server, body, open_client, serving, stream

HANG_UP = 0.1      # share of the clients that leave


@dataclass(slots=True)
class Report:
    """Counts of one run. is_empty: no block was held at the end. rss_mib: resident memory of all processes, in time."""

    completed: int = 0
    hung_up: int = 0
    is_empty: bool = False
    errors: list[str] = field(default_factory=list)
    rss_mib: list[int] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return bool(self.completed and self.hung_up and self.is_empty) and not self.errors


async def run(server: Server, *, num_clients: int, max_tokens: int, seconds: float, seed: int = 0) -> Report:
    """Each client asks again and again, for `seconds` seconds, and at least once."""
    report, draw, end = Report(), random.Random(seed), time.monotonic() + seconds
    async with open_client(server) as client:

        async def ask(number: int) -> None:
            is_first = True
            while is_first or time.monotonic() < end:
                is_first = False
                leaves_after = draw.randrange(max_tokens) if draw.random() < HANG_UP else None
                await one(client, number, max_tokens, leaves_after, report)

        clients = [asyncio.create_task(ask(number)) for number in range(num_clients)]
        while not all(task.done() for task in clients):
            report.rss_mib.append(server.rss_bytes() >> 20)
            await asyncio.wait(clients, timeout=10)
        await asyncio.gather(*clients)
    report.is_empty = await asyncio.to_thread(server.is_empty)
    return report


async def one(client, number: int, max_tokens: int, leaves_after: int | None, report: Report) -> None:
    """One answer, or about its first `leaves_after` tokens only (None: all)."""
    num_tokens = 0
    try:
        async with aclosing(stream(client, body(number, max_tokens))) as events:
            async for token_ids in events:
                num_tokens += len(token_ids)     # a fast engine sends several in one event
                if leaves_after is not None and num_tokens > leaves_after:
                    report.hung_up += 1
                    return
        report.completed += 1
    except Exception as error:      # each is a fault that the report names
        report.errors.append(f"{type(error).__name__}: {error}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    with serving() as server:
        report = asyncio.run(run(server, num_clients=options.clients, max_tokens=200, seconds=options.seconds))
    print(report)
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
