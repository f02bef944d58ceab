"""Compares weft with vLLM (CPU), llama.cpp, OpenVINO GenAI and Transformers, on the same token ids and in turns.

    python benchmarks/peers.py /tmp/qwen3-0.6b --output-json peers.json \\
        --peer vllm=/tmp/venv-vllm/bin/python --peer openvino=/tmp/venv-ov/bin/python \\
        --peer llama.cpp=/tmp/llama/build/bin/llama-server \\
        --model-for openvino=/tmp/qwen3-0.6b-ov --model-for llama.cpp=/tmp/qwen3-0.6b-bf16.gguf

Each peer runs in a separate process with its own Python (`peer_runners/`), never two at once: a peer is started, runs
all workloads and ends, then the next one follows; `--rounds` repeats the whole turn. A peer is looked for in this
Python and on PATH, unless `--peer` gives its place. For a missing peer the command prints how to install it, and runs
the others.

Two peers need the model in their own format, given by `--model-for`:

    optimum-cli export openvino -m /tmp/qwen3-0.6b --task text-generation-with-past --weight-format fp16 \\
        /tmp/qwen3-0.6b-ov
    python benchmarks/peer_runners/convert_for_llama_cpp.py LLAMA_CPP_SOURCE /tmp/qwen3-0.6b \\
        --outfile /tmp/qwen3-0.6b-bf16.gguf --outtype bf16

The table shows each engine's rate (defined in `workloads.py`; medians of all rounds) and, in brackets, the ratio to
weft's rate: above 1 the peer is faster. `limit` is the machine's limit (`limits.py`). `plots.py` draws the JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from limits import Limits, weights_of
from machine import BUFFER_BYTES, measure_apart, print_bounds
from peer_table import NAMES, WEFT, FoundPeer, find_peers
from workloads import Workload, batch, decode, prefill, shared

from weft import EngineArgs
from weft.architectures.registry import families
from weft.cli.tables import print_table
from weft.config.machine import Machine
from weft.models.describe import describe
from weft.resolve.engine_config import resolve_engine_config

BATCH_SIZES = (1, 4, 8, 16, 32)
CONTEXTS = (512, 1024, 2048, 4096, 8192, 16384)
WORKLOADS = (prefill(512), *(decode(context) for context in CONTEXTS), *(batch(size) for size in BATCH_SIZES),
             shared(32))


@dataclass(slots=True)
class Measured:
    """An engine's results: its version, seconds from starting its process until it was ready, rates by workload."""

    version: str = ""
    start_seconds: list[float] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    failure: str | None = None

    def rate(self, key: str) -> float | None:
        """The median; None where the workload did not run."""
        return statistics.median(self.rates[key]) if self.rates.get(key) else None


class PeerFailed(Exception):
    """A peer ended early or gave a wrong answer."""


def main() -> None:
    """Measure, print, write."""
    options = parse_options()
    found, absent = find_peers(options.engines, options.peers, options.models, options.model)
    for name, hint in absent.items():
        print(f"absent: {name}. {hint}", file=sys.stderr)
    if not found:
        raise SystemExit("none of the engines is here")
    workloads = [workload.shrunk(options.shrink) for workload in WORKLOADS if workload.key in options.rows]
    model = options.models.get(WEFT, options.model)
    config = resolve_engine_config(EngineArgs(model=model, num_threads=options.num_threads), Machine.detect())
    spec, _ = describe(config.model, families()[config.model.architecture])
    weights = weights_of(spec, config.model.dtype, model, options.quantization)
    measured = {peer.name: Measured() for peer in found}
    bounds = measure_apart(config.num_threads, buffer_bytes=options.buffer_bytes)
    for round_index in range(options.rounds):
        for peer in found:
            take_turn(peer, measured[peer.name], workloads, config.num_threads, config.model.vocab_size, options,
                      round_index)
        bounds = bounds.best(measure_apart(config.num_threads, buffer_bytes=options.buffer_bytes))
    quantized = options.quantization is not None or model.endswith(".gguf")       # some peers then multiply in 8 bits
    limits = Limits(spec=spec, dtype=config.model.dtype, weights=weights, bounds=bounds, int8_activations=quantized)
    print_bounds(bounds)
    print()
    title = f"{options.model}, {config.num_threads} threads; tokens/s (ratio to weft's)"
    print_rates(measured, workloads, limits, title)
    if options.output_json:
        content = {"title": title, "date": time.strftime("%Y-%m-%d"), "options": vars(options),
                   "bounds": asdict(bounds), "absent": absent,
                   "workloads": [asdict(workload) | {"title": workload.title, "limit": limits.rate(workload)}
                                 for workload in workloads],
                   "engines": {name: asdict(engine) for name, engine in measured.items()}}
        options.output_json.write_text(json.dumps(content, indent=2, default=str) + "\n")
    if any(engine.failure for engine in measured.values()):
        raise SystemExit(1)


def parse_options() -> argparse.Namespace:
    """The command line, its names checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a Hugging Face checkpoint directory, for every engine without a --model-for")
    parser.add_argument("--engines", default=",".join(NAMES), help="who runs, in this order (default: %(default)s)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", dest="peers",
                        help="the Python (for llama.cpp: the llama-server) that runs an engine")
    parser.add_argument("--model-for", action="append", default=[], metavar="NAME=PATH", dest="models",
                        help="the model in an engine's own format")
    parser.add_argument("--rows", default=",".join(workload.key for workload in WORKLOADS),
                        help="workloads, with commas (default: %(default)s)")
    parser.add_argument("--quantization", help="passed to weft alone; peers get files that are quantized")
    parser.add_argument("--activation-dtype", help="passed to weft alone: int8, as llama.cpp multiplies")
    parser.add_argument("--num-threads", type=int)
    parser.add_argument("--rounds", type=int, default=1, help="turns of each engine")
    parser.add_argument("--tries", type=int, default=3, help="tries of each workload in a turn, after one for warmth")
    parser.add_argument("--shrink", type=int, default=1, help="divide all lengths by this, for a quick try")
    parser.add_argument("--buffer-bytes", type=int, default=BUFFER_BYTES, help="read to measure the bandwidth")
    parser.add_argument("--output-json", type=Path)
    options = parser.parse_args()
    options.engines, options.rows = options.engines.split(","), options.rows.split(",")
    options.peers, options.models = (named(parser, option, pairs) for option, pairs in (
        ("--peer", options.peers), ("--model-for", options.models)))
    for option, names, known in (("--engines", options.engines, NAMES), ("--rows", options.rows, [
            workload.key for workload in WORKLOADS])):
        unknown = [name for name in names if name not in known]
        if unknown:
            parser.error(f"{option}: no {', '.join(unknown)}; there are {', '.join(known)}")
    return options


def named(parser: argparse.ArgumentParser, option: str, pairs: Sequence[str]) -> dict[str, str]:
    """{engine: path} from NAME=PATH."""
    split = dict(pair.partition("=")[::2] for pair in pairs)
    for name, path in split.items():
        if name not in NAMES or not path:
            parser.error(f"{option} {name}={path}: expected NAME=PATH with one of {', '.join(NAMES)}")
    return split


def take_turn(peer: FoundPeer, measured: Measured, workloads: Sequence[Workload], num_threads: int, vocab_size: int,
              options: argparse.Namespace, round_index: int) -> None:
    """Start a peer, run the workloads, end it. The results, or the reason for failing, go into `measured`."""
    setup = {"model": peer.model, "num_threads": num_threads, "program": peer.program,
             "max_len": max(workload.max_len for workload in workloads),
             "max_total_len": max(workload.total_len for workload in workloads),
             "max_batch": max(len(workload.prompt_lens) for workload in workloads),
             "quantization": options.quantization if peer.name == WEFT else None,
             "activation_dtype": options.activation_dtype if peer.name == WEFT else None}
    with subprocess.Popen(peer.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            start = time.perf_counter()
            measured.version = ask(process, setup)["version"]
            measured.start_seconds.append(time.perf_counter() - start)
            for workload in workloads:
                print(f"{measured.version}: {workload.title}", file=sys.stderr)
                first = round_index * (options.tries + 1)
                rates = [rate(process, workload, vocab_size, first + i) for i in range(options.tries + 1)]
                measured.rates.setdefault(workload.key, []).extend(rates[1:])
        except PeerFailed as failure:
            measured.failure = str(failure)
            print(f"{peer.name}: {failure}", file=sys.stderr)
        finally:
            with suppress(BrokenPipeError):      # of a process that has ended; `ask` told of that
                process.stdin.close()


def rate(process: subprocess.Popen[str], workload: Workload, vocab_size: int, round_index: int) -> float:
    """Run a workload once."""
    times = ask(process, {"prompts": workload.prompts(vocab_size, round_index), "output_len": workload.output_len})
    expected = len(workload.prompt_lens) * workload.output_len
    if times["num_tokens"] != expected:
        raise PeerFailed(f"{workload.title}: {times['num_tokens']} tokens came, {expected} were asked for")
    return workload.value(times["seconds"], times["first_token_seconds"])


def ask(process: subprocess.Popen[str], request: Mapping[str, Any]) -> dict[str, Any]:
    """Send one line to the runner and return its answer."""
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    except BrokenPipeError as error:
        raise PeerFailed("its process ended; what it said stands above") from error
    line = process.stdout.readline()
    if not line:
        raise PeerFailed("its process ended; what it said stands above")
    return json.loads(line)


def print_rates(measured: Mapping[str, Measured], workloads: Sequence[Workload], limits: Limits, title: str) -> None:
    """The table: a row for each workload, a column for each engine that ran."""
    def cell(name: str, workload: Workload) -> str:
        value, own = measured[name].rate(workload.key), measured[WEFT].rate(workload.key) if WEFT in measured else None
        if value is None:
            return "failed"
        return f"{value:,.1f}" if name == WEFT or own is None else f"{value:,.1f} ({value / own:.2f})"

    rows = [("start, s", *(f"{statistics.median(engine.start_seconds):.1f}" if engine.start_seconds else "failed"
                           for engine in measured.values()), "")]
    rows += [(workload.title, *(cell(name, workload) for name in measured), f"{limits.rate(workload):,.1f}")
             for workload in workloads]
    heads = [engine.version or name for name, engine in measured.items()]
    print_table(("work", *heads, "limit"), rows, title=title, right=(*heads, "limit"))


if __name__ == "__main__":
    main()
