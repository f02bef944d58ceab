"""Kills the engine at random moments under load, also while it loads: every answer has its undisturbed run's tokens.

    python tests/soak/kill_engine.py --seconds 300 --every 10

At the end it prints how long streams stood still after kills of the engine alone, beside the time that loading took.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass, field

import psutil
from serving import Server, body, open_client, serving, stream

RECOVERIES = 5
SPARE_S = 10      # a new spare process has imported everything by then


@dataclass(slots=True)
class Report:
    """Counts of one run. wrong: answers with other tokens. errors: what failed, in words."""

    completed: int = 0
    wrong: int = 0
    kills: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return bool(self.kills and self.completed) and not self.wrong and not self.errors


async def run(server: Server, *, num_clients: int, num_requests: int, max_tokens: int, seconds: float,
              every: float, seed: int = 0) -> Report:
    """num_requests: different ones, answered once undisturbed, then again and again to `num_clients` clients, for
    `seconds` seconds.

    every: mean seconds between two kills, which are a Poisson process.
    """
    report = Report()
    async with open_client(server) as client:
        numbers = range(num_requests)
        undisturbed = await asyncio.gather(*(tokens_of(client, number, max_tokens) for number in numbers))
        numbers_of, end = random.Random(seed), time.monotonic() + seconds

        async def ask() -> None:
            while time.monotonic() < end:
                number = numbers_of.randrange(num_requests)
                try:
                    tokens = await tokens_of(client, number, max_tokens)
                except Exception as error:      # each is a fault that the report names
                    report.errors.append(f"{type(error).__name__}: {error}")
                    continue
                report.completed += 1
                report.wrong += tokens != undisturbed[number]

        clients = [asyncio.create_task(ask()) for _ in range(num_clients)]
        await kill_until(server, end, every, random.Random(seed + 1), report)
        await asyncio.gather(*clients)
    return report


async def tokens_of(client, number: int, max_tokens: int) -> list[int]:
    """All tokens of an answer."""
    return [token async for tokens in stream(client, body(number, max_tokens)) for token in tokens]


async def kill_until(server: Server, end: float, every: float, draw: random.Random, report: Report) -> None:
    """Kills all of the server's children, engine and spare, at random moments."""
    while (pause := draw.expovariate(1 / every)) < end - time.monotonic():
        await asyncio.sleep(pause)
        for child in server.children():
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
            report.kills += 1


async def recovery(server: Server, number: int) -> tuple[float, float]:
    """Kills the engine, not the spare process that waits, under one stream.

    Returns (seconds without a token, seconds that the new engine took to load).
    """
    await asyncio.sleep(SPARE_S)
    longest, last = 0.0, None
    async with open_client(server) as client:
        async for _ in stream(client, body(number, 1000)):
            now = time.monotonic()
            if last is None:
                max(server.children(), key=lambda child: child.cpu_times().user).kill()
            else:
                longest = max(longest, now - last)
            last = now
        meta = (await client.get("/v1/models")).json()["data"][0]["meta"]
    return longest, meta["load_seconds"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--every", type=float, default=10, help="mean seconds between two kills")
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    with serving() as server:
        report = asyncio.run(run(server, num_clients=options.clients, num_requests=24, max_tokens=200,
                                 seconds=options.seconds, every=options.every))
        recoveries = [asyncio.run(recovery(server, number)) for number in range(RECOVERIES)]
    print(report)
    for longest, load in recoveries:
        print(f"killed: {longest:.2f} s without a token, {load:.2f} s of them loading")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
