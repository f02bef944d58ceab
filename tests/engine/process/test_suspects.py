"""Who is failed when an engine dies: the one that dies alone, and nobody else."""

from __future__ import annotations

import random

import pytest

from weft.engine.process.attempts import Attempts
from weft.engine.process.suspects import Suspects


def runnable(suspects, ids):
    return "".join(i for i in ids if suspects.may_run(i))


def test_one_death_makes_no_suspects():
    suspects = Suspects()

    verdict = suspects.died("abcd")

    assert verdict == (None, False)
    assert runnable(suspects, "abcd") == "abcd"


def test_after_a_second_death_halves_run_then_one_alone_and_only_that_one_is_guilty():
    suspects = Suspects()
    suspects.died("abcd")

    assert suspects.died("abcd") == (None, True)
    assert runnable(suspects, "abcdx") == "ab"            # x came later: it waits
    assert suspects.died("ab") == (None, True)
    assert runnable(suspects, "abcdx") == "a"
    assert suspects.cleared("a") is True                  # a had an output
    assert runnable(suspects, "abcdx") == "b"
    assert suspects.died("b") == ("b", True)
    assert runnable(suspects, "acdx") == "acdx"           # the rest were suspects because of b


def test_a_half_that_gives_outputs_lets_the_other_half_run():
    suspects = Suspects()
    suspects.died("abcd"), suspects.died("abcd")

    assert suspects.cleared("a") is False                 # b has not shown itself yet
    assert suspects.cleared("b") is True
    assert runnable(suspects, "abcd") == "cd"


def test_an_output_between_two_deaths_clears_a_sequence():
    suspects = Suspects()
    suspects.died("ab")
    suspects.cleared("a")

    suspects.died("ab")

    assert runnable(suspects, "ab") == "b"                # alone at once: a is no suspect
    assert suspects.died("b").guilty == "b"


def test_a_death_before_a_suspect_was_computed_blames_nobody():
    suspects = Suspects()
    suspects.died("a"), suspects.died("a")

    assert suspects.died("") == (None, False)
    assert runnable(suspects, "ab") == "a"


def test_a_suspect_that_waited_for_room_is_tried_after_those_that_ran():
    suspects = Suspects()
    suspects.died("abcdef"), suspects.died("abcdef")      # abc are tried

    suspects.died("ab")                                   # c had no room

    assert runnable(suspects, "abcdef") == "a"
    suspects.cleared("a"), suspects.cleared("b")
    assert runnable(suspects, "abcdef") == "c"


def test_a_suspect_that_dies_beside_an_innocent_one_is_tried_alone():
    suspects = Suspects()
    suspects.died("abcd"), suspects.died("abcd")
    suspects.cleared("a")

    assert suspects.died("ab").guilty is None
    assert runnable(suspects, "abcd") == "b"
    assert suspects.died("b").guilty == "b"


@pytest.mark.parametrize("aborted", ["a", "c"])
def test_suspects_that_leave_keep_nobody_waiting(aborted):
    suspects = Suspects()
    suspects.died("abc"), suspects.died("abc")

    suspects.ended(aborted)
    for request_id in "abc":
        suspects.ended(request_id)

    assert not suspects.is_searching
    assert suspects.is_empty


@pytest.mark.parametrize("seed", range(20))
def test_of_many_sequences_exactly_the_deadly_ones_are_failed(seed):
    draw = random.Random(seed)
    waiting = {f"r{i}" for i in range(draw.randrange(1, 60))}
    deadly = {i for i in waiting if draw.random() < 0.08}
    suspects, failed = Suspects(), set()
    for _ in range(2000):
        running = [i for i in sorted(waiting) if suspects.may_run(i)]
        if deadly.isdisjoint(running):                    # a step without a death: all have an output, and end
            waiting -= {*running}
            for request_id in running:
                suspects.ended(request_id)
        else:
            guilty = suspects.died(running).guilty
            if guilty is not None:
                failed.add(guilty)
                waiting.remove(guilty)
        if not waiting:
            break

    assert not waiting
    assert failed == deadly


def test_starts_in_vain_are_given_up_after_ever_longer_pauses():
    attempts = Attempts(max_vain=4)

    assert [attempts.failed() for _ in range(4)] == [0.1, 0.2, 0.4, None]


def test_an_output_ends_the_row_of_starts_in_vain():
    attempts = Attempts(max_vain=2)
    attempts.failed()

    attempts.progressed()

    assert attempts.failed() == 0.1
    assert attempts.failed() is None
