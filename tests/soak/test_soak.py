"""The soak scripts in seconds; by hand they run for minutes (`docs/serving.md`)."""

from __future__ import annotations

import fuzz
import hang_up
import kill_engine
import overload
import pytest
from serving import serving


@pytest.fixture(scope="module")
def server():
    with serving("--kv-cache-memory-bytes", str(2**25), "--num-threads", "1", *overload.LIMITS) as server:
        yield server


async def test_clients_that_hang_up_cost_the_others_nothing_and_leave_no_block(server):
    report = await hang_up.run(server, num_clients=40, max_tokens=60, seconds=0)

    assert report.is_good, report
    assert report.completed + report.hung_up == 40


async def test_an_engine_killed_at_random_moments_loses_no_token(server):
    report = await kill_engine.run(server, num_clients=8, num_requests=8, max_tokens=150, seconds=8, every=2.5)

    assert report.is_good, report


def test_more_requests_than_a_server_has_places_for_are_refused_and_the_others_answered(server):
    places = overload.RUNNING + overload.QUEUE

    load = overload.measure(server, "inf", num_requests=2 * places)

    assert (load.failed, load.answered + load.refused) == (0, 2 * places)
    assert load.refused and load.answered >= overload.QUEUE      # before a step none has a place but in the queue
    assert server.is_empty()


def test_hostile_requests_get_errors_that_tell_nothing_and_change_no_other_answer(server):
    report = fuzz.run(server, seconds=8)

    assert report.is_good, report.faults
