"""What an engine's health is judged by: tokens, signs of life, and how long a restart takes."""

from __future__ import annotations

from weft.engine.process.progress import Progress

LIMIT_S = 10.0


def test_an_idle_engine_that_gives_signs_of_life_is_well():
    progress = Progress(0.0)
    progress.heard(95.0, has_moved=False)

    assert progress.complaint(100.0, LIMIT_S, num_open=0) is None


def test_silence_is_an_illness_and_ends_with_the_next_sign():
    progress = Progress(0.0)

    assert progress.complaint(11.0, LIMIT_S, num_open=0) == "The engine has given no sign of life for 11 s."
    progress.heard(12.0, has_moved=False)
    assert progress.complaint(12.0, LIMIT_S, num_open=0) is None


def test_steps_without_a_token_are_an_illness_while_sequences_are_open():
    progress = Progress(0.0)
    progress.began(50.0)
    for second in range(50, 62):
        progress.heard(float(second), has_moved=False)

    assert progress.complaint(61.0, LIMIT_S, num_open=3) == "3 sequences are open, and none got a token for 11 s."
    progress.heard(62.0, has_moved=True)
    assert progress.complaint(62.0, LIMIT_S, num_open=3) is None


def test_the_time_before_a_request_came_does_not_count_against_it():
    progress = Progress(0.0)
    progress.heard(99.0, has_moved=False)
    progress.began(99.5)

    assert progress.complaint(100.0, LIMIT_S, num_open=1) is None


def test_a_restart_may_take_its_time_but_not_longer():
    progress = Progress(0.0)
    progress.died(5.0)

    assert progress.complaint(15.0, LIMIT_S, num_open=1) is None
    assert progress.complaint(16.0, LIMIT_S, num_open=1) == "The engine ended and is not back after 11 s."
    progress.ready(17.0)
    assert progress.complaint(20.0, LIMIT_S, num_open=1) is None
