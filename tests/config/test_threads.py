"""How many threads run, and on which CPUs."""

import pytest
from machines import made_machine

from weft.config.threads import resolve_threads

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
