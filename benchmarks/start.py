"""Measures the start to the first token, of `LLM` and of `weft serve`, and prints where the seconds go.

    python benchmarks/make_checkpoint.py qwen3-0.6b /tmp/qwen3-0.6b
    python benchmarks/start.py /tmp/qwen3-0.6b
    python benchmarks/start.py /tmp/qwen3-0.6b --quantization int4

The bound is importing torch in a new process, plus copying the weights' files into new memory, as an engine that holds
its weights must. The narrow bound copies into memory that is there already, as if new pages cost nothing (in a virtual
machine they may cost more than the copy). Both are measured in each round, with the files in the page cache. Wall
times are medians of `--rounds`, from the start of a process to its line of output; `cpu` is user and system time of the
process and its children until their end, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from weft.cli.tables import print_table

TORCH = "import torch; print(1, flush=True)"
COPY = """
import mmap, sys, time
from pathlib import Path

def seconds(into_new_memory):
    start = time.perf_counter()
    for path in sys.argv[1:]:
        with open(path, "rb", buffering=0) as file:
            size = Path(path).stat().st_size
            memory = memoryview(mmap.mmap(-1, size) if into_new_memory else used)
            place = 0
            while place < size:
                begin = place if into_new_memory else 0
                place += file.readinto(memory[begin : begin + (1 << 26)])
    return time.perf_counter() - start

used = bytearray(1 << 26)
print(seconds(True), seconds(False), flush=True)
"""
# Seconds inside functions of weft: {part: places}. A part's time includes that of what the function calls.
PARTS = {
    "config": ("weft.llm:resolve_engine_config",),
    "tokenizer": ("weft.frontend.llm_engine:load_tokenizer",),
    "model building": ("weft.engine.runner:build_model",),
    "memory plan": ("weft.engine.runner:plan_memory",),
    "reading and packing weights": ("weft.models.described:DescribedStack.load",),
    "cache memory": ("weft.engine.runner:bind_caches",),
}
LLM_START = """
import json, sys, time
begin = time.perf_counter()
import torch
spent = {"import torch": time.perf_counter() - begin}
start = time.perf_counter()
from weft import LLM, SamplingParams
import weft.engine.core, weft.llm
spent["import weft"] = time.perf_counter() - start

def timed(place, part):
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = sys.modules[module]
    for step in owners:
        owner = getattr(owner, step)
    inner = getattr(owner, name)
    def outer(*args, **kwargs):
        start = time.perf_counter()
        try:
            return inner(*args, **kwargs)
        finally:
            spent[part] = spent.get(part, 0) + time.perf_counter() - start
    setattr(owner, name, outer)

for part, places in json.loads(sys.argv[3]).items():
    for place in places:
        timed(place, part)
llm = LLM(sys.argv[1], use_tqdm_on_load=False, **json.loads(sys.argv[2]))
start = time.perf_counter()
llm.generate([{"prompt_token_ids": [5, 6, 7, 8]}], SamplingParams(max_tokens=1, detokenize=False), use_tqdm=False)
spent["first step"] = time.perf_counter() - start
print(json.dumps(spent), flush=True)
"""
FIRST_TOKEN = """
import json, sys
from weft import LLM, SamplingParams
llm = LLM(sys.argv[1], use_tqdm_on_load=False, **json.loads(sys.argv[2]))
llm.generate([{"prompt_token_ids": [5, 6, 7, 8]}], SamplingParams(max_tokens=1, detokenize=False), use_tqdm=False)
print("first token", flush=True)
"""

SERVE = "import sys; from weft.cli.main import main; sys.exit(main())"

Values = dict[str, list[float]]


def main() -> None:
    """Measure in rounds and print."""
    options = parse_options()
    engine = {"kv_cache_memory_bytes": options.kv_cache_memory_bytes}
    engine |= {} if options.quantization is None else {"quantization": options.quantization}
    weights = sorted(map(str, Path(options.model).glob("*.safetensors")))
    if not weights:
        raise SystemExit(f"{options.model} has no safetensors files")
    spent: Values = defaultdict(list)
    cpu: Values = defaultdict(list)
    for number in range(options.rounds + 1):          # the first round fills caches
        kept = (spent, cpu) if number else (defaultdict(list), defaultdict(list))
        one_round(options, engine, weights, *kept)
    print_results(f"{options.model}, {options.quantization or 'plain'} weights", spent, cpu)
    if options.output_json:
        options.output_json.write_text(json.dumps({"seconds": spent, "cpu": cpu}, indent=2) + "\n")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a directory with safetensors files")
    parser.add_argument("--quantization", help="passed to the engine, e.g. int4")
    parser.add_argument("--rounds", type=int, default=3, help="values are medians of this many rounds")
    parser.add_argument("--kv-cache-memory-bytes", type=int, default=1 << 28)
    parser.add_argument("--output-json", type=Path)
    return parser.parse_args()


def one_round(options: argparse.Namespace, engine: dict[str, object], weights: list[str], spent: Values,
              cpu: Values) -> None:
    """Measure everything once, one after another."""
    given = [options.model, json.dumps(engine)]

    def line_of(code: str, *args: str) -> str:
        """The first line of a new Python process, which ends after it; `last` becomes the seconds until the line."""
        nonlocal last
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            last = time.perf_counter() - start
        if not line:
            raise SystemExit("a process ended without its line")
        return line

    def note(key: str, measure: Callable[[], object]) -> None:
        before = os.times()
        measure()
        spent[key].append(last)
        cpu[key].append(sum(os.times()[2:4]) - sum(before[2:4]))      # of children that have ended

    last = 0.0

    note("import torch", lambda: line_of(TORCH))
    new, used = map(float, line_of(COPY, *weights).split())
    for key, copy, name in (("copy into new memory", new, "bound"), ("copy into used memory", used, "narrow bound")):
        spent[key].append(copy)
        spent[name].append(spent["import torch"][-1] + copy)
    note("LLM: first token", lambda: line_of(FIRST_TOKEN, *given))
    for part, seconds in json.loads(line_of(LLM_START, *given, json.dumps(PARTS))).items():
        spent[f"  {part}"].append(seconds)
    note("server", lambda: start_server(options.model, engine, spent))


def start_server(model: str, engine: dict[str, object], spent: Values) -> None:
    """Start `weft serve` on a free port and stop it; the seconds until its banner, /health and a first token."""
    flags = [part for name, value in engine.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", SERVE, "serve", model, "--port", "0", *flags],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        found = None
        while found is None:
            line = process.stdout.readline()
            if not line:
                raise SystemExit("weft serve ended before it was ready")
            found = re.search(r"http://\S+(?=/v1)", line)
        urllib.request.urlopen(f"{found[0]}/health").read()
        spent["weft serve: ready"].append(time.perf_counter() - start)
        name = json.loads(urllib.request.urlopen(f"{found[0]}/v1/models").read())["data"][0]["id"]
        body = json.dumps({"model": name, "prompt": [5, 6, 7, 8], "max_tokens": 1}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{found[0]}/v1/completions", body, {
            "content-type": "application/json"})).read()
        spent["weft serve: first token"].append(time.perf_counter() - start)
        process.terminate()


def print_results(title: str, spent: Values, cpu: Values) -> None:
    """One line for each measured thing: seconds, ratio to the bound, processor seconds."""
    def ratio(key: str, bound: str) -> str:
        if not key.startswith(("LLM", "weft serve")):
            return ""
        pairs = zip(spent[key], spent[bound], strict=True)
        return f"{statistics.median(value / limit for value, limit in pairs):.2f}"

    rows = [(key, f"{statistics.median(values):.2f}", ratio(key, "bound"), ratio(key, "narrow bound"),
             f"{statistics.median(cpu[key]):.2f}" if key in cpu else "")
            for key, values in spent.items() if key != "server"]
    rows.append(("weft serve, until it has stopped", "", "", "", f"{statistics.median(cpu['server']):.2f}"))
    print_table(("", "seconds", "of bound", "of narrow bound", "cpu"), rows, title=title)


if __name__ == "__main__":
    main()
