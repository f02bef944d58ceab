"""Draws the results of `peers.py`: output tokens a second against batch size, and decode speed against context length.

    python benchmarks/plots.py peers.json docs/images

Writes `peers-batch.png` and `peers-context.png`, with a line for each engine (weft's is the thickest) and the machine's
limit. A workload that an engine did not run has no point; a plot without workloads is not written. Needs matplotlib
(`pip install "weft[plot]"`).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Colours that colour-blind readers can tell apart, and different marks. Source: Okabe and Ito, "Color Universal Design"
# (2008).
STYLES = {"weft": ("#d55e00", "o"), "vllm": ("#0072b2", "s"), "llama.cpp": ("#009e73", "^"),
          "openvino": ("#cc79a7", "D"), "transformers": ("#56b4e9", "v")}


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help="the JSON of peers.py")
    parser.add_argument("directory", type=Path, help="where the images go")
    options = parser.parse_args()
    content = json.loads(options.measured.read_text())
    options.directory.mkdir(parents=True, exist_ok=True)
    draw(content, options.directory / "peers-batch.png", "batch-", lambda workload: len(workload["prompt_lens"]),
         x_label="requests at once", y_label="output tokens per second")
    draw(content, options.directory / "peers-context.png", "decode-", lambda workload: workload["prompt_lens"][0],
         x_label="context (tokens)", y_label="decoded tokens per second, one sequence")


def draw(content: Mapping[str, Any], path: Path, prefix: str, x_of: Callable[[Mapping[str, Any]], int], *,
         x_label: str, y_label: str) -> None:
    """Plot the workloads whose key starts with `prefix`; x_of: a workload's place on the x axis."""
    workloads = sorted((workload for workload in content["workloads"] if workload["key"].startswith(prefix)), key=x_of)
    if not workloads:
        print(f"{path}: not drawn, no workload {prefix}* was measured")
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained", facecolor="white")
    axis.plot([x_of(workload) for workload in workloads], [workload["limit"] for workload in workloads],
              color="#777777", linestyle=":", linewidth=1.5, label="limit of the machine")
    for name, engine in content["engines"].items():
        points = [(x_of(workload), statistics.median(engine["rates"][workload["key"]])) for workload in workloads
                  if engine["rates"].get(workload["key"])]
        if points:
            colour, mark = STYLES[name]
            axis.plot(*zip(*points, strict=True), color=colour, marker=mark, markersize=6, label=engine["version"],
                      linewidth=2.6 if name == "weft" else 1.6, zorder=3 if name == "weft" else 2)
    finish(axis, [x_of(workload) for workload in workloads], x_label, y_label)
    bounds = content["bounds"]
    model = Path(content["options"]["model"]).name
    axis.set_title(f"{model}, {bounds['num_threads']} threads, reads at {bounds['read'] / 1e9:.0f} GB/s, bfloat16 at "
                   f"{bounds['bfloat16'] / 1e12:.2f} TFLOP/s, {content['date']}", fontsize=9, loc="left")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    print(path)


def finish(axis: Any, positions: Sequence[int], x_label: str, y_label: str) -> None:
    """Set the axes (powers of two on x, y from zero), the grid and the legend beside the lines."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(positions, [f"{position:,}" for position in positions])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))


if __name__ == "__main__":
    main()
