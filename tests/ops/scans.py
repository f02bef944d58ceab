"""What the tests of operators with a state share: packed batches cut into chunks, and tolerances."""

from __future__ import annotations

import pytest
import torch
from isa_levels import native_levels

from weft.ops.scan_plan import ScanPlan

levels = pytest.mark.parametrize("isa", native_levels())
kernels = pytest.mark.parametrize("isa", ["reference", *native_levels()])
floats = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16],
                                 ids=lambda d: str(d).removeprefix("torch."))
# Both sides compute in float32 (sums in other orders, errors carried along by the state) and round once.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def in_place(query_lens, state_ids):
    """The plan of sequences that advance their states where they are."""
    return ScanPlan(query_lens=tuple(query_lens), read_ids=tuple(state_ids), write_ids=tuple(state_ids))


def in_chunks(run, inputs, states, query_lens, cuts):
    """run(inputs of a step, states, plan) in two steps: each sequence is cut where `cuts` says; the results joined."""
    starts = [sum(query_lens[:i]) for i in range(len(query_lens))]
    parts = []
    for lows, highs in ((starts, [s + c for s, c in zip(starts, cuts, strict=True)]),
                        ([s + c for s, c in zip(starts, cuts, strict=True)],
                         [s + n for s, n in zip(starts, query_lens, strict=True)])):
        rows = [torch.arange(low, high) for low, high in zip(lows, highs, strict=True)]
        plan = in_place([len(r) for r in rows], range(len(rows)))
        parts.append((torch.cat(rows), run([x[torch.cat(rows)] for x in inputs], states, plan)))
    order = torch.cat([rows for rows, _ in parts]).argsort()
    return torch.cat([out for _, out in parts])[order]
