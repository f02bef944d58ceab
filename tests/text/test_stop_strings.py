"""Stop strings: found across pushes, the earliest wins, nothing of them is ever shown too soon."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weft.text.stop import StopMatcher


def run(stop, pushes, *, include_stop_str=False):
    """(texts of the pushes, text of the finish, what matched)."""
    matcher = StopMatcher(stop, include_stop_str=include_stop_str)
    texts = [matcher.push(text) for text in pushes]
    return texts, matcher.finish(), matcher.matched


def test_without_stop_strings_text_passes_at_once():
    assert run([], ["Hello", " world"]) == (["Hello", " world"], "", None)


def test_a_stop_string_may_span_pushes():
    texts, end, matched = run(["END"], ["text E", "N", "D more"])

    assert ("".join(texts) + end, matched) == ("text ", "END")


def test_the_longest_stop_string_minus_one_characters_are_held_back():
    texts, end, matched = run(["abcd", "x"], ["12345", "67"])

    assert texts == ["12", "34"]
    assert (end, matched) == ("567", None)


def test_a_single_character_holds_nothing_back():
    assert run(["."], ["One", " two", ". Three"]) == (["One", " two", ""], "", ".")


def test_the_stop_string_is_shown_when_asked_and_nothing_after_it():
    texts, end, matched = run(["END"], ["a EN", "D b"], include_stop_str=True)

    assert ("".join(texts) + end, matched) == ("a END", "END")


def test_the_earliest_match_wins_whatever_the_order_of_the_list():
    for stop in (["two", "one"], ["one", "two"]):
        texts, _, matched = run(stop, ["zero one two"])

        assert ("".join(texts), matched) == ("zero ", "one")


def test_of_two_matches_at_one_place_the_shorter_wins():
    for pushes in (["xab"], ["x", "a", "b"]):
        texts, _, matched = run(["ab", "a"], pushes)

        assert ("".join(texts), matched) == ("x", "a")


def test_a_match_waits_while_an_earlier_one_may_still_complete():
    for pushes in (["abcd"], ["abc", "d"], ["a", "b", "c", "d"]):
        assert run(["bc", "abcd"], pushes)[1:] == ("", "abcd")

    texts, _, matched = run(["bc", "abcd"], ["abc", "e"])
    assert ("".join(texts), matched) == ("a", "bc")


def test_a_waiting_match_counts_when_the_text_ends():
    texts, end, matched = run(["bc", "abcd"], ["abc"])

    assert (texts, end, matched) == ([""], "a", "bc")


def test_after_a_match_nothing_comes_out():
    matcher = StopMatcher(["."], include_stop_str=False)

    assert [matcher.push(text) for text in ("a.b", "c", ".")] == ["a", "", ""]
    assert matcher.finish() == ""


def test_without_a_match_the_finish_gives_the_rest_once():
    matcher = StopMatcher(["STOP"], include_stop_str=False)
    matcher.push("ST")

    assert (matcher.finish(), matcher.finish()) == ("ST", "")


@settings(max_examples=500)
@given(stop=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), include=st.booleans(),
       pushes=st.lists(st.text("abc", max_size=4), max_size=8))
@example(stop=["aab"], include=False, pushes=["a", "a", "a", "b"])
def test_the_result_is_that_of_searching_the_whole_text(stop, include, pushes):
    whole = "".join(pushes)
    found = min(((whole.find(s), len(s)) for s in stop if s in whole), default=None)
    start, length = found or (len(whole), 0)

    texts, end, matched = run(stop, pushes, include_stop_str=include)

    assert "".join(texts) + end == whole[: start + (length if include else 0)]
    assert matched == (whole[start : start + length] if found else None)


@pytest.mark.parametrize("include", [True, False])
def test_what_was_shown_before_the_match_is_never_part_of_it(include):
    matcher = StopMatcher(["</think>"], include_stop_str=include)

    shown = "".join(matcher.push(character) for character in "I think</thin")

    assert "I think</thin".startswith(shown)
    assert "</thin" not in shown
