"""Requests that arrive at random at 0.5, 0.8 and 1.2 of what a server can do, measured by `weft bench serve`.

    python tests/soak/overload.py --seconds 60

Above capacity the server goes on to answer as many requests as before and refuses the others (status 429), so that
those that it admits wait no longer than the queue is long.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from serving import Server, serving

SHARES = (0.5, 0.8, 1.2)
RUNNING, QUEUE = 32, 64     # requests that may run, and wait
LIMITS = ("--max-num-seqs", str(RUNNING), "--max-num-queued-reqs", str(QUEUE))
LENGTHS = ("--input-len", "64", "--output-len", "128")
LEAST_GOODPUT = 0.8         # of the capacity, above it


@dataclass(frozen=True, slots=True)
class Load:
    """One run. goodput: answered requests a second. ttft_ms: time to the first token of each answered request."""

    rate: float
    answered: int
    refused: int
    failed: int
    goodput: float
    ttft_ms: list[float]

    def __str__(self) -> str:
        first = f"first token median {statistics.median(self.ttft_ms):.0f}, most {max(self.ttft_ms):.0f} ms"
        return (f"{self.rate:7.1f} requests/s arrive: {self.goodput:7.1f} answered a second, {self.answered} answered, "
                f"{self.refused} refused, {self.failed} failed, {first}")


def run(server: Server, *, seconds: float, shares: tuple[float, ...] = SHARES) -> tuple[float, list[Load], bool]:
    """The capacity in requests a second, a load for each share of it, and True if no block is held at the end."""
    capacity = measure(server, "inf", num_requests=4 * RUNNING, concurrency=RUNNING).goodput
    loads = [measure(server, f"{share * capacity:g}", num_requests=max(int(share * capacity * seconds), 8))
             for share in shares]
    return capacity, loads, server.is_empty()


def measure(server: Server, rate: str, *, num_requests: int, concurrency: int | None = None) -> Load:
    """One `weft bench serve`."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "report.json")
        command = [sys.executable, "-m", "weft.cli.main", "bench", "serve", "--base-url", server.url, *LENGTHS,
                   "--request-rate", rate, "--num-prompts", str(num_requests), "--output-json", str(path)]
        command += [] if concurrency is None else ["--max-concurrency", str(concurrency)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)      # its status tells of failures, as we do
        content = json.loads(path.read_text())
    totals = content["totals"]
    return Load(rate=float(rate), answered=totals["requests answered"], refused=totals["requests refused"],
                failed=totals["requests failed"], goodput=totals["requests/s"],
                ttft_ms=content["samples"]["TTFT (ms)"])


def is_good(capacity: float, loads: list[Load], is_empty: bool) -> bool:
    """True if no request failed, and each load above capacity kept goodput and the time to first tokens."""
    longest_ms = 2000 * (QUEUE + RUNNING) / capacity      # twice what a full queue and the running ones take
    above = [load for load in loads if load.rate > capacity]
    return is_empty and not any(load.failed for load in loads) and all(
        load.refused and load.goodput > LEAST_GOODPUT * capacity and max(load.ttft_ms) < longest_ms for load in above)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each load")
    options = parser.parse_args()
    with serving(*LIMITS, "--num-threads", "1") as server:
        capacity, loads, is_empty = run(server, seconds=options.seconds)
    print(f"{capacity:.1f} requests/s is the capacity", *loads, sep="\n")
    return 0 if is_good(capacity, loads, is_empty) else 1


if __name__ == "__main__":
    sys.exit(main())
