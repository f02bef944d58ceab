"""Compares the small native kernels with the machine's bounds.

    python benchmarks/kernels.py --num-threads 2

For memory-bound kernels, the bytes that must be read and written a second are divided by the measured streaming read.
For scans, the multiplications and additions a second are divided by the measured float32 product. A fraction above 1
means that the data stay in the caches. `products.py` and `attention.py` measure products and attention.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import machine
import numpy as np
import torch

from weft.cli.tables import print_table
from weft.config.allocator import keep_freed_pages
from weft.config.isa import isa_flags, resolve_isa
from weft.config.machine import Machine
from weft.ops.activation import ActivationCase, choose_activation
from weft.ops.causal_conv import CausalConvCase, choose_causal_conv
from weft.ops.embedding import EmbeddingCase, choose_embedding
from weft.ops.gated_delta import GatedDeltaCase, choose_gated_delta
from weft.ops.mamba import MambaCase, MambaOptions, choose_mamba
from weft.ops.norm import NormCase, NormOptions, choose_norm
from weft.ops.qk import QKCase, choose_qk
from weft.ops.rope import RopeCase, choose_rope
from weft.ops.sampling import DrawSettings, SamplingCase, choose_sampling
from weft.ops.scan_plan import ScanPlan

HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 1024, 3072, 16, 8, 128, 151_936     # Qwen3 0.6B
DTYPE = torch.bfloat16
BYTES = DTYPE.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One kernel at one size. work: bytes, or operations where `counts_bytes` is False."""

    kernel: str
    size: str
    milliseconds: float
    work: float
    counts_bytes: bool
    fraction: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-threads", type=int, default=Machine.detect().num_cores.value)
    parser.add_argument("--isa", default=resolve_isa("auto", isa_flags(Path("/"))).value, help="level, or reference")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 512], help="tokens (sampling: rows, at most 32)")
    parser.add_argument("--rounds", type=int, default=10, help="tries of each; the best counts")
    parser.add_argument("--buffer-bytes", type=int, default=machine.BUFFER_BYTES, help="read by the streaming read")
    parser.add_argument("--output-json", type=Path)
    options = parser.parse_args()
    bounds = machine.measure_apart(options.num_threads, buffer_bytes=options.buffer_bytes)
    torch.set_num_threads(options.num_threads)
    torch.manual_seed(0)
    keep_freed_pages()                          # as the engine does: results cost no page faults
    timed = [timed_row(*row, bounds=bounds, rounds=options.rounds)
             for rows in options.rows for row in (*stateless(rows, options.isa), *scans(rows, options.isa))]
    print_timed(timed, f"{options.isa}, {options.num_threads} threads, {bounds.read / 1e9:.1f} GB/s read, "
                       f"{bounds.float32 / 1e9:.0f} GFLOP/s in float32")
    if options.output_json:
        options.output_json.write_text(json.dumps([asdict(row) for row in timed], indent=2) + "\n")


def timed_row(kernel: str, size: str, work: float, counts_bytes: bool, call, *, bounds: machine.Bounds,
              rounds: int) -> Timed:
    """Time a kernel: the best of several rounds. A call of microseconds is repeated within a round."""
    call()
    repeats = max(1, int(2e-3 / max(machine.seconds(call), 1e-6)))
    best = min(machine.seconds(lambda: [call() for _ in range(repeats)]) for _ in range(rounds)) / repeats
    bound = bounds.read if counts_bytes else bounds.float32
    return Timed(kernel=kernel, size=size, milliseconds=1e3 * best, work=work, counts_bytes=counts_bytes,
                 fraction=work / best / bound)


def print_timed(timed: list[Timed], title: str) -> None:
    """The table."""
    rows = [(row.kernel, row.size, f"{row.milliseconds:.4f}",
             f"{row.work / row.milliseconds / 1e6:.1f} {'GB/s' if row.counts_bytes else 'GFLOP/s'}",
             f"{row.fraction:.2f}") for row in timed]
    print_table(("kernel", "size", "ms", "rate", "of the machine's"), rows, right=("ms", "rate", "of the machine's"),
                title=title)


def stateless(rows: int, isa: str) -> Iterator[tuple]:
    """Kernels without states, as (kernel, size, work, whether the work is bytes, call)."""
    on = {"device": "cpu", "dtype": DTYPE, "isa": isa}
    options = NormOptions(centred=False, eps=1e-6)
    norm = choose_norm(NormCase(**on, options=options)).prepare(torch.ones(HIDDEN, dtype=DTYPE), None, options)
    x, out = torch.randn(rows, HIDDEN).to(DTYPE), torch.empty(rows, HIDDEN, dtype=DTYPE)
    yield "norm", f"[{rows}, {HIDDEN}]", 2 * BYTES * x.numel(), True, lambda: norm(x, out)

    residual, total = torch.randn(rows, HIDDEN).to(DTYPE), torch.empty(rows, HIDDEN, dtype=DTYPE)
    yield ("residual and norm", f"[{rows}, {HIDDEN}]", 4 * BYTES * x.numel(), True,
           lambda: norm.add(x, residual, out, total))

    case = QKCase(**on, num_heads=HEADS, num_kv_heads=KV_HEADS, head_dim=HEAD_DIM, norm=options, half=HEAD_DIM // 2)
    weight = torch.ones(HEAD_DIM, dtype=DTYPE)
    transform_qk = choose_qk(case).prepare(weight, weight, None, None)
    qkv = torch.randn(rows, HEADS + 2 * KV_HEADS, HEAD_DIM).to(DTYPE)
    angles = torch.ones(rows, HEAD_DIM // 2), torch.zeros(rows, HEAD_DIM // 2)
    yield ("qk", f"[{rows}, {HEADS} + {KV_HEADS}, {HEAD_DIM}]", 2 * BYTES * rows * (HEADS + KV_HEADS) * HEAD_DIM, True,
           lambda: transform_qk(qkv, angles))

    rotate = choose_rope(RopeCase(**on, head_dim=HEAD_DIM, half=HEAD_DIM // 2)).run
    q, k = qkv[:, :HEADS], qkv[:, HEADS : HEADS + KV_HEADS]
    yield ("rope, q and k apart", f"[{rows}, {HEADS} + {KV_HEADS}, {HEAD_DIM}]",
           2 * BYTES * rows * (HEADS + KV_HEADS) * HEAD_DIM, True, lambda: rotate(q, k, angles))

    act = choose_activation(ActivationCase(**on, act="silu", gated=True)).run
    gate_up, inner = torch.randn(rows, 2 * INNER).to(DTYPE), torch.empty(rows, INNER, dtype=DTYPE)
    yield "activation, gated", f"[{rows}, 2 x {INNER}]", 3 * BYTES * inner.numel(), True, lambda: act(gate_up, inner)

    table, ids = torch.randn(VOCAB, HIDDEN).to(DTYPE), torch.randint(VOCAB, (rows,))
    embed = choose_embedding(EmbeddingCase(**on)).prepare(table, 1.0)
    yield "embedding", f"[{rows}, {HIDDEN}]", 2 * BYTES * rows * HIDDEN, True, lambda: embed(ids)
    yield from sampling(min(rows, 32), isa)


def sampling(rows: int, isa: str) -> Iterator[tuple]:
    """Sampling, as in `stateless`. The work is one reading of the logits."""
    kernel = choose_sampling(SamplingCase(device="cpu", isa=isa)).prepare()
    logits, size = 3 * torch.randn(rows, VOCAB), f"[{rows}, {VOCAB}]"
    work, chosen = 4 * logits.numel(), torch.zeros(rows, dtype=torch.int64)
    for name, top_k, top_p in (("top-k 20, top-p 0.95", 20, 0.95), ("top-p 0.95", 0, 0.95), ("whole", 0, 1.0)):
        settings = DrawSettings(
            temperatures=np.full(rows, 0.7, dtype=np.float32), min_ps=np.zeros(rows, dtype=np.float32),
            top_ps=np.full(rows, top_p, dtype=np.float32), top_ks=np.full(rows, top_k, dtype=np.int64),
            numbers=np.full(rows, 0.5))
        yield (f"draw, {name}", size, work, True,
               lambda settings=settings: kernel.draw(logits, settings, keep="raw"))
    yield "argmax", size, work, True, lambda: kernel.draw(logits, None)
    yield ("logprobs, 20 best", size, work, True,
           lambda: kernel.report(logits, list(range(rows)), chosen, 20, as_logits=False))


def scans(rows: int, isa: str) -> Iterator[tuple]:
    """Scans over one sequence, as in `stateless`, in the sizes of Qwen3-Next, Mamba 2.8B and Mamba-2 2.7B."""
    on = {"device": "cpu", "dtype": DTYPE, "isa": isa}
    plan = ScanPlan(query_lens=(rows,), read_ids=(0,), write_ids=(0,))
    channels = 8192
    conv = choose_causal_conv(CausalConvCase(**on, kernel_size=4, act="silu")).prepare(
        torch.randn(channels, 4), None)
    x, kept = torch.randn(rows, channels).to(DTYPE), torch.zeros(1, 3, channels, dtype=DTYPE)
    yield "causal conv", f"[{rows}, {channels}]", 2 * BYTES * x.numel(), True, lambda: conv(x, kept, plan)

    key_heads, heads = 16, 32
    rule = choose_gated_delta(GatedDeltaCase(**on, key_dim=HEAD_DIM, scale=HEAD_DIM**-0.5, normalises=True)).run
    q, k = (torch.randn(rows, key_heads, HEAD_DIM).to(DTYPE) for _ in range(2))
    v, states = torch.randn(rows, heads, HEAD_DIM).to(DTYPE), torch.zeros(1, heads, HEAD_DIM, HEAD_DIM)
    decays, betas = -torch.rand(rows, heads), torch.rand(rows, heads)
    yield ("gated delta", f"[{rows}, {heads}, {HEAD_DIM} x {HEAD_DIM}]", 7 * rows * states.numel(), False,
           lambda: rule(q, k, v, decays, betas, states, plan))
    yield mamba(on, rows, plan, by_head=False, heads=1, size=5120, state=16)
    yield mamba(on, rows, plan, by_head=True, heads=80, size=64, state=128)


def mamba(on: dict, rows: int, plan: ScanPlan, *, by_head: bool, heads: int, size: int, state: int) -> tuple:
    """A row of `scans`. An exponential counts as one operation."""
    options = MambaOptions(by_head=by_head)
    a, d = -torch.rand(heads if by_head else (size, state)), torch.rand(heads if by_head else size)
    scan = choose_mamba(MambaCase(**on, state_size=state, options=options)).prepare(a, d, d)
    x = torch.randn(rows, *((heads, size) if by_head else (size,))).to(DTYPE)
    dt = torch.randn(rows, heads if by_head else size).to(DTYPE)
    b, c = (torch.randn(rows, *((1, state) if by_head else (state,))).to(DTYPE) for _ in range(2))
    states = torch.zeros(1, *((heads, state, size) if by_head else (state, size)))
    return (f"mamba {2 if by_head else 1}", f"[{rows}, {heads} x {size} x {state}]",
            (5 if by_head else 7) * rows * states.numel(), False, lambda: scan(x, dt, b, c, states, plan))


if __name__ == "__main__":
    main()
