"""Compares the native linear kernels, on weights of every kind, with memory bandwidth and matrix-product speed.

    python benchmarks/products.py

Both bounds are measured in the same run, in turns with the kernels: a streaming read by all threads, and the fastest
product of many rows that a library reaches in bfloat16 or float32 (machine.py). A product takes at least the time to
read its weight once, scales included, and at least the time of its multiplications. The longer time is the bound, and
the printed fraction is bound / measured time. With --activation-dtype int8, codes are multiplied by x in 8 bits, and
the product bound may be one of 8 bits. Without, w8a8 can exceed the bound, because it computes in integers. With a cap
(--cpu-isa avx2), cap the libraries as well: set ONEDNN_MAX_CPU_ISA=AVX2 and MKL_ENABLE_INSTRUCTIONS=AVX2.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import machine
import torch
from torch import Tensor

from weft.cli.tables import print_table
from weft.config.isa import resolve_isa
from weft.config.machine import Machine
from weft.ops.linear import Epilogue, LinearCase, choose_linear, empty_weight
from weft.ops.quantized import QuantizedWeight

KINDS = ("bfloat16", "w8a8", "int8", "int4", "Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=65536, help="outputs")
    parser.add_argument("--k", type=int, default=2048, help="columns")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 32, 256])
    parser.add_argument("--activation-dtype", choices=("int8",), help="multiply codes by x in 8 bits")
    parser.add_argument("--cpu-isa", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-threads", type=int)
    parser.add_argument("--buffer-bytes", type=int, default=machine.BUFFER_BYTES, help="read by the streaming read")
    options = parser.parse_args()
    detected = Machine.detect()
    isa = resolve_isa(options.cpu_isa, detected.isa).value
    torch.set_num_threads(options.num_threads or detected.num_cores.value)
    torch.manual_seed(0)
    print_table(("weight", "rows", "ms", "reaches", "bound", "fraction"), list(measured(options, isa)))


def measured(options: argparse.Namespace, isa: str) -> Iterator[tuple[str, ...]]:
    """The lines of the table, one for each kind of weight and number of rows."""
    ways = machine.read_ways(torch.get_num_threads(), options.buffer_bytes)
    read_bytes, read = max(ways.values(), key=lambda way: way[0] / machine.seconds(way[1]))
    operations, multiply = machine.fastest_product(torch.bfloat16, int8_activations=options.activation_dtype == "int8")
    for kind in options.kinds:
        call, size = product(kind, options.n, options.k, isa, options.activation_dtype)
        for count in options.rows:
            x = torch.randn(count, options.k).bfloat16()
            out = torch.empty(count, options.n, dtype=torch.bfloat16)
            functions = (partial(call, x, out=out), read, multiply)
            times = [[machine.seconds(f) for f in functions] for _ in range(options.rounds + 1)]
            seconds, reading, multiplying = (min(column) for column in zip(*times[1:], strict=True))
            yield line(kind, count, seconds, (size, read_bytes / reading),
                       (2 * count * options.n * options.k, operations / multiplying))


def line(kind: str, rows: int, seconds: float, memory: tuple[float, float],
         work: tuple[float, float]) -> tuple[str, ...]:
    """One line of the table. memory: (bytes, bytes a second of the bound); work: the same for operations."""
    by_bytes = memory[0] / memory[1] > work[0] / work[1]
    (amount, bound), unit = (memory, "GB/s") if by_bytes else (work, "GFLOP/s")
    return (kind, str(rows), f"{seconds * 1e3:.2f}", f"{amount / seconds / 1e9:.1f} {unit}",
            f"{bound / 1e9:.1f} {unit}", f"{amount / seconds / bound:.2f}")


def product(kind: str, n: int, k: int, isa: str, activation_dtype: str | None) -> tuple[Callable[..., Tensor], int]:
    """(the product, bytes of its packed weight)."""
    quantization = kind if kind in ("w8a8", "int8", "int4") else None
    case = LinearCase(device="cpu", dtype=torch.bfloat16, in_features=k, out_features=n, isa=isa,
                      quantization=quantization, activation_dtype=activation_dtype)
    if kind == "bfloat16" or quantization is not None:
        weight = empty_weight(case)
        weight.normal_(std=0.02)
    else:
        weight = codes_of(kind, n, k)
    made = choose_linear(case).prepare(weight, None, Epilogue(out_dtype=torch.bfloat16))
    return made, made.num_bytes


def codes_of(kind: str, n: int, k: int) -> QuantizedWeight:
    """A matrix in a GGUF format with random codes (quantized values)."""
    bits = int(kind[1])
    codes = torch.randint(0, 1 << bits, (n, k), dtype=torch.uint8)
    if kind.endswith("_0"):
        return QuantizedWeight(codes=codes, bits=bits, zero=1 << bits - 1, group_size=32,
                               scales=(torch.rand(n, k // 32) / 100).half())
    group, supers = 16 if bits == 6 else 32, (torch.rand(n, k // 256) / 1000).half()
    scales = torch.randint(0, 64, (n, k // group), dtype=torch.uint8)
    if bits == 6:
        return QuantizedWeight(codes=codes, bits=6, zero=32, group_size=16, scales=scales.to(torch.int8),
                               super_scales=supers)
    return QuantizedWeight(codes=codes, bits=bits, zero=0, group_size=32, scales=scales, offsets=scales.clone(),
                           super_scales=supers, super_offsets=supers.clone())


if __name__ == "__main__":
    main()
