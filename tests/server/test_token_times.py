"""What is counted for each token or step: as a histogram of prometheus_client counts it."""

import random

from prometheus_client import CollectorRegistry, Histogram, generate_latest

import weft.server.token_times as token_times
from weft.frontend.light_histogram import LightHistogram
from weft.server.token_times import TokenClock

BOUNDS = (0.01, 0.5, 1, 2.5)


def test_a_scrape_shows_what_the_librarys_histogram_shows():
    own, library, draw = CollectorRegistry(), CollectorRegistry(), random.Random(0)
    times = LightHistogram("gaps_seconds", "Gaps.", {"model": "m"}, BOUNDS)
    own.register(times)
    histogram = Histogram("gaps_seconds", "Gaps.", ("model",), registry=library, buckets=BOUNDS).labels("m")
    for seconds in (*BOUNDS, 0.0, 4.0, *(draw.random() * 4 for _ in range(200))):
        times.add(seconds)
        histogram.observe(seconds)

    wanted = [line for line in generate_latest(library).decode().splitlines() if "_created" not in line]
    assert generate_latest(own).decode().splitlines() == wanted


def test_tokens_that_come_together_share_their_time_and_streams_are_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(token_times.time, "monotonic", lambda: now[0])
    times = LightHistogram("gaps_seconds", "Gaps.", {}, BOUNDS)
    clock = TokenClock(times)
    for seconds, stream, num_tokens in ((0.0, (0, 0), 1), (5.0, (0, 1), 3), (5.5, (0, 1), 0), (8.0, (0, 0), 4),
                                        (8.0, (0, 1), 1)):
        now[0] = seconds
        clock.tick(stream, num_tokens)

    [family] = times.collect()
    values = {sample.labels.get("le", sample.name): sample.value for sample in family.samples}
    # Four tokens after 8 s of one stream, one after 3 s of the other; the first tokens of a stream have no time.
    assert values == {"0.01": 0, "0.5": 0, "1.0": 0, "2.5": 4, "+Inf": 5, "gaps_seconds_count": 5,
                      "gaps_seconds_sum": 11.0}
