"""`weft bench`: the arithmetic by hand, and each benchmark once on a model that answers."""

from __future__ import annotations

import argparse
import itertools
import json
import statistics

import pytest

from weft.cli.bench.backends import measure
from weft.cli.bench.report import percentile, summarize
from weft.cli.bench.workload import pauses, random_jobs
from weft.errors import ConfigError


@pytest.mark.parametrize(("q", "expected"), [(0, 10), (50, 25), (100, 40), (75, 32.5), (99, 39.7)])
def test_percentiles_are_linear_between_neighbours(q, expected):
    assert percentile([40, 10, 30, 20], q) == pytest.approx(expected)


def test_a_summary_of_one_value_is_that_value():
    summary = summarize([7.0])

    assert (summary.count, summary.mean, summary.median, summary.std) == (1, 7.0, 7.0, 0.0)
    assert summary.percentiles == {}


@pytest.mark.parametrize(("count", "has"), [(9, []), (10, [90]), (99, [90]), (100, [90, 99])])
def test_a_percentile_needs_so_many_values_that_one_lies_above_it(count, has):
    assert [*summarize(range(count)).percentiles] == has


def test_the_same_seed_gives_the_same_requests():
    first, again, other = (random_jobs(range(1000), 5, input_len=20, output_len=10, seed=seed) for seed in (1, 1, 2))

    assert first == again != other
    assert all(len(job.prompt_token_ids) == 20 and job.output_len == 10 for job in first)


def test_lengths_stay_within_the_range_ratio_and_use_it():
    jobs = random_jobs(range(9), 400, input_len=100, output_len=1, range_ratio=0.2)
    lengths = [len(job.prompt_token_ids) for job in jobs]

    assert (min(lengths), max(lengths)) == (80, 120)


@pytest.mark.parametrize("burstiness", [0.5, 1.0, 4.0])
def test_requests_come_at_the_rate_and_as_evenly_as_burstiness_says(burstiness):
    drawn = list(itertools.islice(pauses(10.0, burstiness=burstiness, seed=3), 20000))

    # Gamma: mean 1 / rate, variance mean² / burstiness. 20,000 draws estimate both within a few percent.
    assert statistics.fmean(drawn) == pytest.approx(0.1, rel=0.05)
    assert statistics.pvariance(drawn) == pytest.approx(0.01 / burstiness, rel=0.15)


def test_an_infinite_rate_waits_for_nothing():
    assert list(itertools.islice(pauses(float("inf")), 3)) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("name", "value"), [("count", 0), ("input_len", 0), ("output_len", -1), ("range_ratio", 1.0)])
def test_a_workload_of_nothing_is_refused(name, value):
    with pytest.raises(ConfigError):
        random_jobs(range(9), **{"count": 1, "input_len": 1, "output_len": 1} | {name: value})


def test_latency_measures_the_rounds_after_the_warm_up(weft, tmp_path, checkpoint):
    output = tmp_path / "latency.json"

    ran = weft("bench", "latency", checkpoint, "--batch-size", 2, "--input-len", 8, "--output-len", 3, "--num-iters", 4,
               "--num-iters-warmup", 1, "--output-json", output, "--no-use-tqdm-on-load")

    content = json.loads(output.read_text())
    assert ran.status == 0 and "batch latency (ms)" in ran.out
    samples = content["samples"]["batch latency (ms)"]
    assert len(samples) == 4
    assert content["summaries"]["batch latency (ms)"]["median"] == pytest.approx(statistics.median(samples))
    assert content["totals"]["output tokens/s at the median"] == pytest.approx(6000 / statistics.median(samples))
    assert content["settings"]["batch_size"] == 2


def test_throughput_counts_the_tokens_of_all_requests(weft, tmp_path, checkpoint):
    output, picture = tmp_path / "throughput.json", tmp_path / "throughput.png"

    ran = weft("bench", "throughput", checkpoint, "--num-prompts", 6, "--num-warmups", 1, "--input-len", 8,
               "--output-len", 4, "--output-json", output, "--plot", picture, "--no-use-tqdm-on-load")

    totals = json.loads(output.read_text())["totals"]
    assert ran.status == 0
    assert (totals["prompt tokens"], totals["output tokens"]) == (48, 24)
    assert totals["total tokens/s"] == pytest.approx(72 / totals["duration (s)"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(weft, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    ran = weft("bench", "latency", "--plot", "x.png")

    assert ran.status == 1 and 'pip install "weft[plot]"' in ran.err


def test_backends_take_turns_and_the_first_round_does_not_count():
    order = []

    def engine(name, first, rest):
        def times(jobs):
            order.append(name)
            return first, rest
        return times

    options = argparse.Namespace(prefill_len=8, decode_batches=(2,), decode_len=4, num_iters=2, workload_seed=0)
    samples = measure({"native": engine("n", 1.0, 2.0), "transformers": engine("t", 3.0, 4.0)}, options, range(9))

    assert "".join(order) == "tntn" + "ntnt" + "tntn"
    assert samples == {("native", "prefill of 8 tokens"): [1.0, 1.0], ("native", "decode step of 2"): [0.5, 0.5],
                       ("transformers", "prefill of 8 tokens"): [3.0, 3.0],
                       ("transformers", "decode step of 2"): [1.0, 1.0]}
