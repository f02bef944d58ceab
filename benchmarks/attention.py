"""Compares the native attention kernel with the machine's bounds: memory bandwidth and matrix-product speed (roofline).

    python benchmarks/attention.py
    python benchmarks/attention.py --kv-heads 1 --head-dim 576 --value-dim 512      # latents of DeepSeek-V2-Lite

Both bounds are measured in the same run, in turns with the kernel: the speed at which all threads read a large buffer
(a product of one row, which only reads its matrix), and the fastest large matrix product of a library (machine.py). A
step takes at least the time to read its cached keys and values once (shared ones once in all), and at least the time of
the operations that its rows need. The longer time is the bound, and the printed fraction is bound / measured time. The
kernel's further work (masked keys, exponentials) counts against it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from machine import fastest_product
from torch import Tensor

from weft.cli.tables import print_table
from weft.config.allocator import lazy_zeros
from weft.config.isa import resolve_isa
from weft.config.machine import Machine
from weft.ops.attention import KV_DTYPES, AttentionParams, AttentionPlan, attention_plan, cache_shape, cpu
from weft.ops.linear import Epilogue, LinearCase, choose_linear, empty_weight

BLOCK = cpu.BLOCK_SIZE


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--value-dim", type=int, help="only keys are cached, and their last numbers are the values")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--kv-cache-dtype", choices=tuple(KV_DTYPES), help="default: --dtype")
    parser.add_argument("--context", type=int, default=16384, help="tokens of a long sequence")
    parser.add_argument("--num-seqs", type=int, default=32, help="sequences of a batch")
    parser.add_argument("--cpu-isa", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-threads", type=int)
    options = parser.parse_args()
    machine = Machine.detect()
    isa = resolve_isa(options.cpu_isa, machine.isa).value
    torch.set_num_threads(options.num_threads or machine.num_cores.value)
    bench = Bench(options, isa)
    rows = [bench.decode(1, options.context), bench.decode(options.num_seqs, options.context // 32),
            bench.decode(options.num_seqs, options.context // 16, shared=options.context // 32 // 64 * 64),
            bench.prompt(min(512, options.context)), bench.prompt(options.context // 2)]
    print_table(("work", "ms", "reaches", "bound", "fraction"), rows)


class Bench:
    """Makes steps of a shape; times the kernel and its bounds in turns."""

    def __init__(self, options: argparse.Namespace, isa: str) -> None:
        self.options, self.isa, self.dtype = options, isa, getattr(torch, options.dtype)
        self.cache_dtype = KV_DTYPES[options.kv_cache_dtype or options.dtype]
        self.kernel = cpu.make_run(isa)
        self.num_caches = 2 if options.value_dim is None else 1
        reading = self._product(16384, 8192, 1)
        self.read = (reading, 16384 * 8192 * self.dtype.itemsize)
        operations, multiplying = fastest_product(self.dtype)
        self.multiply = (multiplying, operations)

    def _product(self, n: int, k: int, rows: int) -> Callable[[], Tensor]:
        case = LinearCase(device="cpu", dtype=self.dtype, in_features=k, out_features=n, isa=self.isa)
        weight = empty_weight(case)
        weight.fill_(0.5)
        product = choose_linear(case).prepare(weight, None, Epilogue(out_dtype=self.dtype))
        x, out = torch.ones(rows, k, dtype=self.dtype), torch.empty(rows, n, dtype=self.dtype)
        return lambda: product(x, out=out)

    def decode(self, num_seqs: int, length: int, *, shared: int = 0) -> tuple[str, ...]:
        """A decode step: one token for each sequence. The first `shared` tokens of all sequences share their blocks."""
        name = f"decode {num_seqs} x {length}" + (f", {shared} shared" if shared else "")
        return self._row(name, self._step([1] * num_seqs, [length] * num_seqs, shared),
                         shared + num_seqs * (length - shared), num_seqs * length)

    def prompt(self, length: int) -> tuple[str, ...]:
        """A prefill step of one prompt."""
        return self._row(f"prompt {length}", self._step([length], [length]), length, length * (length + 1) // 2)

    def _step(self, query_lens: list[int], seq_lens: list[int], shared: int = 0) -> Callable[[], Tensor]:
        options = self.options
        plan, num_blocks = _plan(query_lens, seq_lens, shared)
        shape = cache_shape(num_blocks, options.kv_heads, BLOCK, options.head_dim, self.cache_dtype)
        caches = [_written(shape, self.cache_dtype) for _ in range(self.num_caches)]
        k_cache, v_cache = caches if self.num_caches == 2 else (caches[0], None)
        heads = options.heads + 2 * options.kv_heads
        qkv = torch.randn(sum(query_lens), heads, options.head_dim).to(self.dtype)
        q, k, v = qkv.split((options.heads, options.kv_heads, options.kv_heads), dim=1)
        params = AttentionParams(scale=options.head_dim**-0.5, value_dim=options.value_dim)
        return lambda: self.kernel(q, k, None if v_cache is None else v, k_cache, v_cache, plan, params)

    def _row(self, name: str, step: Callable[[], Tensor], cached: int, seen: int) -> tuple[str, ...]:
        """The best of several rounds, in turns with the bounds. cached: tokens to read; seen: keys of all rows."""
        options = self.options
        shape = cache_shape(1, options.kv_heads, BLOCK, options.head_dim, self.cache_dtype)
        num_bytes = self.num_caches * torch.Size(shape).numel() * self.cache_dtype.itemsize * cached // BLOCK
        operations = 2 * options.heads * (options.head_dim + (options.value_dim or options.head_dim)) * seen
        functions = (step, self.read[0], self.multiply[0])
        times: tuple[list[float], ...] = ([], [], [])
        for _ in range(options.rounds + 1):
            for function, found in zip(functions, times, strict=True):
                start = time.perf_counter()
                function()
                found.append(time.perf_counter() - start)
        seconds, reading, multiplying = (min(found[1:]) for found in times)
        bandwidth, rate = self.read[1] / reading, self.multiply[1] / multiplying
        by_bytes = num_bytes / bandwidth > operations / rate
        work, bound, unit = ((num_bytes, bandwidth, "GB/s") if by_bytes else (operations, rate, "GFLOP/s"))
        return (name, f"{seconds * 1e3:.3f}", f"{work / seconds / 1e9:.1f} {unit}", f"{bound / 1e9:.1f} {unit}",
                f"{work / seconds / bound:.2f}")


def _written(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A cache in the same kind of memory as the engine's, with every page written."""
    pages = torch.frombuffer(lazy_zeros(math.prod(shape) * dtype.itemsize), dtype=torch.uint8)
    return pages.zero_().view(dtype)[: math.prod(shape)].view(shape)


def _plan(query_lens: list[int], seq_lens: list[int], shared: int) -> tuple[AttentionPlan, int]:
    """(a plan whose sequences have blocks at random places, number of blocks)."""
    generator, num_shared = np.random.default_rng(0), shared // BLOCK
    counts = [-(-length // BLOCK) - num_shared for length in seq_lens]
    free = generator.permutation(num_shared + sum(counts))
    table = np.full((len(seq_lens), num_shared + max(counts)), -1)
    table[:, :num_shared] = free[:num_shared]
    ends = np.cumsum(counts) + num_shared
    for row, count, end in zip(table, counts, ends, strict=True):
        row[num_shared : num_shared + count] = free[end - count : end]
    positions = np.concatenate([np.arange(length - new, length)
                                for new, length in zip(query_lens, seq_lens, strict=True)])
    slots = table[np.repeat(np.arange(len(seq_lens)), query_lens), positions // BLOCK] * BLOCK + positions % BLOCK
    decodes = len(seq_lens) if max(query_lens) == 1 else 0
    return attention_plan(query_lens=query_lens, seq_lens=seq_lens, num_decodes=decodes, slots=slots, table=table,
                          window=None, block_size=BLOCK), len(free)


if __name__ == "__main__":
    main()
