"""Threads kept to chosen CPUs. Each test runs in a thread of its own, so that the suite's stays as free as it is."""

import os
import threading

import pytest

from weft.config.affinity import keep_to, kept_to

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
                                reason="needs affinity and two CPUs")


@pytest.fixture
def in_thread():
    """in_thread(function, *arguments): its result, run in a new thread."""
    def run(function, *arguments):
        results = []
        thread = threading.Thread(target=lambda: results.append(function(*arguments)))
        thread.start()
        thread.join()
        return results[0]

    return run


def allowed():
    return os.sched_getaffinity(0)


def test_a_block_is_kept_to_its_cpus_and_the_thread_is_free_after_it(in_thread):
    everywhere = allowed()
    one = {min(everywhere)}

    def visit():
        with kept_to(one):
            inside = allowed()
        return inside, allowed()

    assert in_thread(visit) == (one, everywhere)
    assert allowed() == everywhere


def test_the_thread_is_free_again_after_an_error_too(in_thread):
    everywhere = allowed()

    def visit():
        with pytest.raises(KeyError), kept_to({min(everywhere)}):
            raise KeyError
        return allowed()

    assert in_thread(visit) == everywhere


def test_threads_started_inside_stay_where_they_are_told(in_thread):
    first = {min(allowed())}
    ready, go, found = threading.Event(), threading.Event(), []

    def child():
        ready.set()
        go.wait()
        found.append(allowed())

    def visit():
        with kept_to(first):
            thread = threading.Thread(target=child)
            thread.start()
            ready.wait()
        go.set()
        thread.join()

    in_thread(visit)

    assert found == [first]


def test_a_thread_is_never_let_onto_a_cpu_that_it_was_kept_from(in_thread):
    first, second, *_ = sorted(allowed())

    def visit():
        os.sched_setaffinity(0, {first})
        changes = [keep_to({second}), keep_to({first, second}), keep_to(())]
        return changes, allowed()

    assert in_thread(visit) == ([None, None, None], {first})


def test_keeping_returns_what_was_allowed_before(in_thread):
    everywhere = allowed()
    first = min(everywhere)

    assert in_thread(keep_to, {first}) == everywhere
