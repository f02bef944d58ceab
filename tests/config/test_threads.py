"""How many threads run, on which CPUs, and among which nodes weights are divided."""

from dataclasses import replace

import pytest
from machines import made_machine

from weft.config.fact import Fact
from weft.config.threads import nodes_of_threads, resolve_threads
from weft.config.topology import NumaNode

SMT = {"cpus": range(8), "cores": range(4)}


def resolved(num_threads, **machine):
    count, cpus = resolve_threads(num_threads, made_machine(**machine))
    return count.value, cpus.value


def test_unset_there_is_a_thread_for_each_core_and_siblings_are_left_out():
    assert resolved(None, **SMT) == (4, (0, 1, 2, 3))


def test_a_quota_takes_threads_and_leaves_the_choice_of_cores_to_the_system():
    assert resolved(None, quota=2, **SMT) == (2, (0, 1, 2, 3))


@pytest.mark.parametrize(("num_threads", "cpus"), [(1, range(4)), (4, range(4)), (5, range(8)), (8, range(8))])
def test_more_threads_than_cores_take_the_siblings_too(num_threads, cpus, caplog):
    assert resolved(num_threads, **SMT) == (num_threads, tuple(cpus))
    assert not caplog.messages


def test_more_threads_than_cpus_are_granted_with_a_warning(caplog):
    assert resolved(9, **SMT) == (9, tuple(range(8)))
    assert caplog.messages == ["num_threads = 9: only 8 can run at once (test); more slow each other down."]


@pytest.mark.parametrize(("quota", "warns"), [(2.5, True), (3.0, False), (0.5, True)])
def test_more_threads_than_the_quota_lets_run_are_granted_with_a_warning(quota, warns, caplog):
    assert resolved(3, quota=quota, **SMT)[0] == 3
    assert [f"CPU quota of {quota:g} (test)" in message for message in caplog.messages] == [True] * warns


def test_a_single_thread_needs_no_warning_about_a_quota_below_one(caplog):
    assert resolved(1, quota=0.5, **SMT)[0] == 1
    assert not caplog.messages


def test_the_option_is_named_as_the_source():
    count, _ = resolve_threads(2, made_machine())

    assert count.source == "option num_threads"


def parts(*free_bytes, num_threads=4, cpus=range(8)):
    """{node: CPUs of its part} on a machine with three nodes of four CPUs: 0-3, 4-7, 8-11."""
    nodes = tuple(NumaNode(number=n, cpus=tuple(range(4 * n, 4 * n + 4)), free_bytes=free)
                  for n, free in enumerate(free_bytes))
    machine = replace(made_machine(cpus=range(12)), nodes=Fact(nodes, "test"))
    return {node.number: node.cpus for node in nodes_of_threads(num_threads, tuple(cpus), machine)}


def test_weights_are_divided_among_the_nodes_that_have_cpus_of_the_threads():
    assert parts(1, 1, 1) == {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}
    assert parts(1, 1, 1, cpus=(3, 8, 10)) == {0: (3,), 2: (8, 10)}
    assert parts(1, 1, 1, cpus=()) == {0: (0, 1, 2, 3), 1: (4, 5, 6, 7), 2: (8, 9, 10, 11)}


@pytest.mark.parametrize("case", [
    {"cpus": range(4)}, {"num_threads": 1}, {"cpus": (0, 8, 9)}], ids=["one-node", "one-thread", "no-memory-there"])
def test_weights_are_whole_where_one_node_has_all(case):
    assert parts(1, 1, 0, **case) == {}
