"""Clients take turns: who starts next, when one has many waiting sequences and another has few."""

from __future__ import annotations

import pytest
from scheduling import add, make_scheduler, step, tokens


def started(scheduler, num_steps: int) -> list[str]:
    """Ids in the order in which they start, of sequences that one step answers."""
    return [seq.request_id for _ in range(num_steps) for seq in step(scheduler).started]


def fill(scheduler, client: str | None, count: int, **options) -> None:
    for i in range(count):
        add(scheduler, f"{client}{i}", tokens(3, 100 * i), max_tokens=1, client=client, **options)


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_a_thousand_requests_of_one_client_do_not_hold_up_anothers_one(policy):
    scheduler = make_scheduler(policy=policy, max_num_seqs=1)
    fill(scheduler, "a", 1000)
    assert started(scheduler, 3) == ["a0", "a1", "a2"]

    fill(scheduler, "b", 1)

    assert started(scheduler, 2) == ["b0", "a3"]
    scheduler.check()


def test_clients_that_wait_start_in_turn_and_each_in_its_own_order():
    scheduler = make_scheduler(max_num_seqs=1)
    for client, count in (("a", 4), ("b", 2), ("c", 2)):
        fill(scheduler, client, count)

    assert started(scheduler, 8) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "a3"]


@pytest.mark.parametrize("client", [None, "a"])
def test_a_client_alone_and_sequences_of_nobody_start_as_they_come(client):
    scheduler = make_scheduler(max_num_seqs=2)
    fill(scheduler, client, 5)

    assert started(scheduler, 3) == [f"{client}{i}" for i in range(5)]


def test_priority_comes_before_turns():
    scheduler = make_scheduler(policy="priority", max_num_seqs=1)
    fill(scheduler, "a", 3, priority=1)
    fill(scheduler, "b", 2, priority=2)
    add(scheduler, "urgent", tokens(3, 900), max_tokens=1, client="a", priority=0)

    assert started(scheduler, 6) == ["urgent", "a0", "a1", "a2", "b0", "b1"]


def test_aborted_sequences_cost_a_client_no_turn():
    scheduler = make_scheduler(max_num_seqs=1)
    fill(scheduler, "a", 100)
    for i in range(100):
        scheduler.abort(f"a{i}")
    fill(scheduler, "b", 50)

    add(scheduler, "again", tokens(3, 700), max_tokens=1, client="a")

    assert started(scheduler, 2) == ["b0", "again"]


def test_clients_that_send_one_request_after_the_other_do_not_hold_up_a_batch():
    scheduler = make_scheduler(max_num_seqs=1)
    for client in ("x", "y"):
        add(scheduler, f"{client}0", tokens(3, ord(client)), max_tokens=1, client=client)
    fill(scheduler, "batch", 2)
    order = []
    for i in range(1, 8):                       # each is back as soon as it was answered
        order += started(scheduler, 1)
        if (client := order[-1][0]) in "xy":
            add(scheduler, f"{client}{i}", tokens(3, 50 * i), max_tokens=1, client=client)

    assert {"batch0", "batch1"} <= set(order)
    scheduler.check()


def test_clients_without_sequences_are_forgotten_once_their_turns_are_over():
    scheduler = make_scheduler(max_num_seqs=1)
    for i in range(50):
        add(scheduler, f"{i}", tokens(3, 10 * i), max_tokens=1, client=f"client {i}")
        started(scheduler, 1)
    fill(scheduler, "a", 3)
    started(scheduler, 3)

    assert len(scheduler._turns._clients) <= 1
