"""The report of a benchmark: a table of medians and percentiles, a JSON file and a plot, from named numbers."""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weft.cli.files import check_output
from weft.cli.parser import Parser
from weft.cli.tables import print_table
from weft.errors import ConfigError
from weft.version import __version__

PERCENTILES = (90, 99)      # of so many values at least that one lies above: p90 of 10, p99 of 100


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics of one measured quantity. percentiles: those that there are values enough for."""

    count: int
    mean: float
    median: float
    std: float
    minimum: float
    maximum: float
    percentiles: dict[int, float]


def add_report_options(parser: Parser) -> None:
    """Adds --output-json and --plot."""
    parser.add_argument("--output-json", metavar="FILE", help="write settings, results and single values")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the distributions (needs matplotlib)")


def check_report_options(options: argparse.Namespace) -> None:
    """ConfigError, before measuring, if the report could not be written afterwards."""
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot", options.plot, expected="matplotlib to be installed",
                          hint='pip install "weft[plot]".')
    for name in ("output_json", "plot"):
        path = getattr(options, name)
        if path:
            check_output("--" + name.replace("_", "-"), path)


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile (q from 0 to 100), interpolated linearly."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * q / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def summarize(values: Sequence[float]) -> Summary:
    """Statistics of `values`, which must not be empty."""
    percentiles = {q: percentile(values, q) for q in PERCENTILES if has_enough(len(values), q)}
    return Summary(len(values), statistics.fmean(values), statistics.median(values), statistics.pstdev(values),
                   min(values), max(values), percentiles)


def has_enough(count: int, q: float) -> bool:
    """Whether so many values have a q-th percentile of their own, one that is not just their largest."""
    return count * (100 - q) >= 100


def report(options: argparse.Namespace, *, title: str, totals: Mapping[str, float],
           samples: Mapping[str, Sequence[float]]) -> None:
    """Print totals and a table of samples; write the requested JSON file and plot.

    totals: {name with unit: number}. samples: {name with unit: one value for each request or iteration}.
    """
    print_table(("result", "value"), [(name, f"{value:,}" if isinstance(value, int) else f"{value:,.2f}")
                                    for name, value in totals.items()], title=title,
                right=("value",))
    summaries = {name: summarize(values) for name, values in samples.items() if values}
    print()
    print_table(("measured", *summaries), _rows(summaries.values()), right=tuple(summaries))
    if options.output_json:
        _write_json(options, title, totals, summaries, samples)
    if options.plot:
        plot(options.plot, title, samples)


def _rows(summaries: Iterable[Summary]) -> list[list[str]]:
    """A row for each statistic, with a cell for each quantity: "-" for a percentile of too few values."""
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:,.2f}"

    found = list(summaries)
    return [["values", *(f"{s.count:,}" for s in found)], ["mean", *(number(s.mean) for s in found)],
            ["median", *(number(s.median) for s in found)], ["std", *(number(s.std) for s in found)],
            *([f"p{q}", *(number(s.percentiles.get(q)) for s in found)] for q in PERCENTILES),
            ["min", *(number(s.minimum) for s in found)], ["max", *(number(s.maximum) for s in found)]]


def plot(path: str, title: str, samples: Mapping[str, Sequence[float]]) -> None:
    """A histogram for each sample, with the median, and p99 where there are values enough for it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kept = {name: values for name, values in samples.items() if values}
    figure, axes = pyplot.subplots(1, len(kept), figsize=(4.5 * len(kept), 3.5), squeeze=False, layout="constrained")
    for axis, (name, values) in zip(axes[0], kept.items(), strict=True):
        axis.hist(values, bins=min(50, max(5, len(values) // 4)), color="#4c72b0")
        for q, colour in ((50, "#222222"), (99, "#c44e52")):
            if has_enough(len(values), q):
                value = percentile(values, q)
                axis.axvline(value, color=colour, linewidth=1, label=f"p{q} {value:,.2f}")
        axis.set_xlabel(name)
        axis.set_ylabel("count")
        axis.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _write_json(options: argparse.Namespace, title: str, totals: Mapping[str, float],
                summaries: Mapping[str, Summary], samples: Mapping[str, Sequence[float]]) -> None:
    # The file must not contain a key, because users share it.
    settings: dict[str, Any] = {k: v for k, v in vars(options).items() if k not in ("api_key", "hf_token", "traceback")}
    content = {"title": title, "weft": __version__, "settings": settings, "totals": dict(totals),
               "summaries": {name: asdict(summary) for name, summary in summaries.items()},
               "samples": {name: list(values) for name, values in samples.items()}}
    Path(options.output_json).write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
