"""Measures the machine's bounds: streaming reads from memory, and matrix products in bfloat16, float32 and 8 bits.

    python benchmarks/machine.py --num-threads 2

The other benchmarks divide by these bounds, measured in the same run (`measure_apart`). Each bound is the best of
several methods, each tried several times: it stands for the machine and not for one library call.

- Streaming read: all threads read a buffer of 1 GiB once, far larger than any cache. Methods: torch sums of int64 and
  of float32, a float32 dot product, numpy sums in threads.
- Products on square and on model-like shapes: torch's `linear` (oneDNN), numpy's `matmul` (its BLAS) in float32, and
  torch's dynamically quantized `linear` in 8 bits. Work in bfloat16 is bound by the faster product of bfloat16 and
  float32, because a processor without bfloat16 instructions computes in float32. Work with 8-bit activations is bound
  by the fastest of all three.

Knows no model and no engine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from weft.cli.tables import print_table
from weft.config.machine import Machine

BUFFER_BYTES = 1 << 30
# (tokens, in, out) of a product.
SHAPES = ((2048, 2048, 2048), (512, 1024, 6144), (2048, 1024, 6144))
FLOAT32_DIVISOR = 4      # float32 products are slower: the tokens of a product are divided by it


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The machine's bounds with `num_threads` threads.

    read: bytes a second of a streaming read. bfloat16, float32, int8: operations a second of a matrix product; int8 is
    0 where it was not measured. *_by: the method that reached the bound.
    """

    num_threads: int
    read: float
    read_by: str
    bfloat16: float
    bfloat16_by: str
    float32: float
    float32_by: str
    int8: float = 0.0
    int8_by: str = ""

    def product(self, dtype: str, *, int8_activations: bool = False) -> float:
        """Operations a second of the fastest product that serves a model of a dtype, perhaps with 8-bit activations."""
        rate = self.float32 if dtype == "float32" else max(self.float32, self.bfloat16)
        return max(rate, self.int8) if int8_activations else rate

    def best(self, other: Bounds) -> Bounds:
        """For each bound, the larger value of two measurements."""
        kept = {}
        for name in ("read", "bfloat16", "float32", "int8"):
            source = max(self, other, key=lambda bounds: getattr(bounds, name))
            kept |= {name: getattr(source, name), f"{name}_by": getattr(source, f"{name}_by")}
        return Bounds(num_threads=self.num_threads, **kept)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-threads", type=int, default=Machine.detect().num_cores.value)
    parser.add_argument("--buffer-bytes", type=int, default=BUFFER_BYTES, help="read by the streaming read")
    parser.add_argument("--rounds", type=int, default=5, help="tries of each way; the best counts")
    parser.add_argument("--output-json", type=Path)
    options = parser.parse_args()
    bounds = measure(options.num_threads, buffer_bytes=options.buffer_bytes, rounds=options.rounds)
    print_bounds(bounds)
    if options.output_json:
        options.output_json.write_text(json.dumps(asdict(bounds), indent=2) + "\n")


def print_bounds(bounds: Bounds) -> None:
    """The table."""
    rows = [("streaming read", f"{bounds.read / 1e9:.1f} GB/s", bounds.read_by),
            ("bfloat16 product", f"{bounds.bfloat16 / 1e12:.3f} TFLOP/s", bounds.bfloat16_by),
            ("float32 product", f"{bounds.float32 / 1e12:.3f} TFLOP/s", bounds.float32_by),
            ("8-bit product", f"{bounds.int8 / 1e12:.3f} TOP/s", bounds.int8_by)]
    print_table(("bound", "value", "reached by"), rows, right=("value",),
                title=f"The machine with {bounds.num_threads} threads")


def measure(num_threads: int, *, buffer_bytes: int = BUFFER_BYTES, rounds: int = 5) -> Bounds:
    """The bounds. Sets the number of torch's threads, and holds `buffer_bytes` bytes while it runs."""
    torch.set_num_threads(num_threads)
    read, read_by = best(read_ways(num_threads, buffer_bytes), rounds)
    bfloat16, bfloat16_by = best(product_ways(torch.bfloat16), rounds)
    float32, float32_by = best(product_ways(torch.float32), rounds)
    int8, int8_by = best(int8_ways(), rounds)
    return Bounds(num_threads=num_threads, read=read, read_by=read_by, bfloat16=bfloat16, bfloat16_by=bfloat16_by,
                  float32=float32, float32_by=float32_by, int8=int8, int8_by=int8_by)


def measure_apart(num_threads: int, *, buffer_bytes: int = BUFFER_BYTES, rounds: int = 5) -> Bounds:
    """The bounds, measured in a separate process, so that the caller's memory and threads do not change."""
    code = ("import dataclasses, json, sys; sys.path.insert(0, sys.argv[1]); import machine; "
            "print(json.dumps(dataclasses.asdict(machine.measure(int(sys.argv[2]), buffer_bytes=int(sys.argv[3]), "
            "rounds=int(sys.argv[4])))))")
    arguments = (Path(__file__).parent, num_threads, buffer_bytes, rounds)
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                          check=True)
    return Bounds(**json.loads(done.stdout))


# A method: the work of one call (bytes or operations), and the call.
Ways = Mapping[str, tuple[float, Callable[[], object]]]


def best(ways: Ways, rounds: int) -> tuple[float, str]:
    """(highest rate of any method in any round, the method's name)."""
    rates = {}
    for name, (work, call) in ways.items():
        call()
        rates[name] = work / min(seconds(call) for _ in range(rounds))
    name = max(rates, key=rates.__getitem__)
    return rates[name], name


def seconds(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def read_ways(num_threads: int, buffer_bytes: int) -> Ways:
    """Methods that read a buffer once."""
    buffer = torch.ones(buffer_bytes // 8, dtype=torch.int64)      # written, so that its pages exist
    floats = buffer.view(torch.float32)
    halves = floats.chunk(2)
    parts = np.array_split(buffer.numpy(), num_threads)
    pool = ThreadPoolExecutor(num_threads)
    return {"torch sum, int64": (buffer_bytes, buffer.sum), "torch sum, float32": (buffer_bytes, floats.sum),
            "torch dot, float32": (buffer_bytes, lambda: torch.dot(*halves)),
            "numpy sum in threads, int64": (buffer_bytes, lambda: list(pool.map(np.sum, parts)))}


def product_ways(dtype: torch.dtype, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> Ways:
    """Products of several shapes, in float32 by two libraries."""
    ways = {}
    for tokens, size_in, size_out in shapes:
        tokens //= FLOAT32_DIVISOR if dtype == torch.float32 else 1
        rows, weight = torch.randn(tokens, size_in).to(dtype), torch.randn(size_out, size_in).to(dtype)
        name, work = f"[{tokens}, {size_in}] x [{size_in}, {size_out}]", 2 * tokens * size_in * size_out
        ways[f"torch {name}"] = (work, partial(torch.nn.functional.linear, rows, weight))
        if dtype == torch.float32:
            ways[f"numpy {name}"] = (work, partial(np.matmul, rows.numpy(), weight.numpy().T))
    return ways


def int8_ways(shapes: Sequence[tuple[int, int, int]] = SHAPES) -> Ways:
    """Products of 8-bit integers: torch's linear of a float32 x that it quantizes row by row (its default engine)."""
    ways = {}
    for tokens, size_in, size_out in shapes:
        tokens //= FLOAT32_DIVISOR
        rows, weight = torch.randn(tokens, size_in), torch.randn(size_out, size_in)
        packed = torch.ops.quantized.linear_prepack(torch.quantize_per_tensor(weight, 0.03, 0, torch.qint8), None)
        ways[f"torch [{tokens}, {size_in}] x [{size_in}, {size_out}]"] = (
            2 * tokens * size_in * size_out, partial(torch.ops.quantized.linear_dynamic, rows, packed))
    return ways


def fastest_product(dtype: torch.dtype, *, int8_activations: bool = False) -> tuple[float, Callable[[], object]]:
    """(operations, call) of the fastest product that serves work in a dtype; to be timed in turns with the work."""
    shapes = ((1024, 2048, 4096),)
    dtypes = {torch.float32, torch.bfloat16} if dtype != torch.float32 else {torch.float32}
    ways = [way for each in dtypes for way in product_ways(each, shapes).values()]
    if int8_activations:
        ways += int8_ways(shapes).values()
    for _, call in ways:
        call()
    return max(ways, key=lambda way: way[0] / min(seconds(way[1]) for _ in range(3)))


if __name__ == "__main__":
    main()
