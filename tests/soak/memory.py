"""Many requests with different prompts and forms of answers: the memory of the server's processes stays flat.

    python tests/soak/memory.py --requests 100000

One request in ten asks for JSON of a schema that no request had before. Memory is sampled 200 times; the last quarter's
median may be larger than the second quarter's by `ALLOWED_MIB`: in the first quarter caches fill to their bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import Server, open_client, serving

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))      # when run as a script
from made_schemas import SchemaMaker  # it lies beside the tests' other helpers

ALLOWED_MIB = 24
NUM_SAMPLES = 200
WORDS = "the a dog cat ball red big ran saw little tree house said happy went day mom sun".split()


@dataclass(slots=True)
class Report:
    """rss_mib: resident memory of the processes, in time. refused: schemas that weft does not enforce (status 400).
    errors: what failed, in words.
    """

    answered: int = 0
    refused: int = 0
    errors: list[str] = field(default_factory=list)
    rss_mib: list[int] = field(default_factory=list)

    @property
    def growth_mib(self) -> float:
        """How much more memory the last quarter held than the second."""
        quarter = len(self.rss_mib) // 4
        return statistics.median(self.rss_mib[-quarter:]) - statistics.median(self.rss_mib[quarter : 2 * quarter])

    @property
    def is_good(self) -> bool:
        return bool(self.answered) and not self.errors and self.growth_mib <= ALLOWED_MIB


async def run(server: Server, *, num_requests: int, num_clients: int = 16, seed: int = 0) -> Report:
    """Sends the requests, `num_clients` at a time."""
    report, numbers = Report(), iter(range(num_requests))
    async with open_client(server) as client:

        async def ask() -> None:
            for number in numbers:
                answer = await client.post("/v1/completions", json=body(number, random.Random(f"{seed} {number}")))
                if answer.status_code == 200:
                    report.answered += 1
                elif answer.status_code == 400 and number % 10 == 0:
                    report.refused += 1
                else:
                    report.errors.append(f"{number}: {answer.status_code} {answer.text[:300]}")
                if number % max(num_requests // NUM_SAMPLES, 1) == 0:
                    report.rss_mib.append(server.rss_bytes() >> 20)

        await asyncio.gather(*(ask() for _ in range(num_clients)))
    return report


def body(number: int, draw: random.Random) -> dict[str, Any]:
    """Request number `number`: 1 to 200 words, 1 to 8 tokens; every tenth with a schema, every seventh with a salt."""
    found: dict[str, Any] = {"prompt": " ".join(draw.choices(WORDS, k=draw.randint(1, 200))), "seed": number,
                             "max_tokens": draw.randint(1, 8), "temperature": 1.0}
    if number % 10 == 0:
        found["structured_outputs"] = {"json": SchemaMaker(number).make() | {"title": f"schema {number}"}}
    if number % 7 == 0:
        found["cache_salt"] = f"salt {number}"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    options = parser.parse_args()
    with serving("--kv-cache-memory-bytes", str(2**26)) as server:      # so small that it is full soon
        report = asyncio.run(run(server, num_requests=options.requests))
    print(f"{report.answered} answered, {report.refused} refused, {len(report.errors)} failed",
          f"MiB: {report.rss_mib[::10]}, growth {report.growth_mib:.0f}", *report.errors[:5], sep="\n")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
