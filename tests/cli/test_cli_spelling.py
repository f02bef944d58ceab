"""How a command line may be spelled: dashes, dots, short numbers, groups of help."""

from __future__ import annotations

import argparse

import pytest

from weft.cli.flexible import FlexibleArgumentParser
from weft.cli.main import build_parser
from weft.cli.parser import spelled
from weft.config.flags import human_int, merge


@pytest.mark.parametrize(("given", "meant"), [
    (["--max_model_len", "8"], ["--max-model-len", "8"]),
    (["--served_model_name=my_model"], ["--served-model-name=my_model"]),
    (["--chat-template", "a_b"], ["--chat-template", "a_b"]),
    (["-q", "x_y"], ["-q", "x_y"]),
    (["--hf-overrides.rope_scaling.factor=2.5"], ["--hf-overrides", '{"rope_scaling": {"factor": 2.5}}']),
    (["--hf_overrides.sliding_window", "null"], ["--hf-overrides", '{"sliding_window": null}']),
    (["--hf-overrides.name=plain text"], ["--hf-overrides", '{"name": "plain text"}']),
    (["--", "--a_b"], ["--", "--a_b"]),
])
def test_underscores_and_dots_mean_dashes_and_json(given, meant):
    assert spelled(given) == meant


@pytest.mark.parametrize(("text", "number"), [
    ("4096", 4096), ("-1", -1), ("1k", 1000), ("1K", 1024), ("25.6k", 25600), ("1.5K", 1536), ("2m", 2_000_000),
    ("2M", 2 * 1024 ** 2), ("4g", 4 * 10 ** 9), ("4G", 4 * 1024 ** 3), ("1t", 10 ** 12), ("10_000", 10000),
])
def test_small_suffixes_count_by_thousands_and_large_ones_by_1024(text, number):
    assert human_int(text) == number


@pytest.mark.parametrize("text", ["", "k", "1.5", "1.0001k", "12kk", "0x10", "1e3", "many"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="whole number"):
        human_int(text)


def test_json_options_given_twice_are_merged_key_by_key():
    below = {"rope_scaling": {"factor": 2, "rope_type": "linear"}, "a": 1}

    assert merge(below, {"rope_scaling": {"factor": 4}, "b": 2}) == {
        "rope_scaling": {"factor": 4, "rope_type": "linear"}, "a": 1, "b": 2}


def test_help_of_a_group_shows_only_that_group(weft):
    ran = weft("serve", "--help=cache")

    assert ran.status == 0
    assert "--block-size" in ran.out and "--host" not in ran.out


def test_help_lists_the_groups(weft):
    groups = weft("serve", "--help=listgroup").out.split()

    assert {"model", "load", "cache", "scheduler", "server", "chat"} <= set(groups)


def test_help_of_a_word_shows_the_options_with_it_in_their_name(weft):
    ran = weft("serve", "--help=max_model")

    assert "--max-model-len" in ran.out and "--max-num-seqs" not in ran.out


@pytest.mark.parametrize(("words", "eager"), [
    (["--enforce-eager"], True), (["--enforce-eager=True"], True), (["--enforce-eager=false"], False),
    (["--enforce-eager", "True"], True), (["--enforce-eager", "False"], False), (["--no-enforce-eager=True"], False),
    (["--no-enforce-eager=False"], True),
])
def test_a_flag_takes_true_and_false(words, eager):
    options = build_parser("serve").parse_args([*words, "some/model"])

    assert (options.enforce_eager, options.positional_model) == (eager, "some/model")


def test_flags_of_a_script_take_true_and_false_too():
    parser = FlexibleArgumentParser()
    parser.add_argument("--use_it", action="store_true")
    parser.add_argument("--name")
    parser.add_argument("rest", nargs="*")

    assert vars(parser.parse_args(["--use-it=True", "--name", "True", "a"])) == {
        "use_it": True, "name": "True", "rest": ["a"]}
    assert parser.parse_args(["--use_it", "False", "--", "--use_it", "True"]).rest == ["--use_it", "True"]
    assert parser.parse_args(["--use_it=False"]).use_it is False


def test_a_flag_with_another_value_is_an_error_that_says_what_it_takes(capsys):
    with pytest.raises(SystemExit):
        build_parser("serve").parse_args(["--enforce-eager=maybe"])

    assert "--enforce-eager = 'maybe': expected no value, True or False" in capsys.readouterr().err
