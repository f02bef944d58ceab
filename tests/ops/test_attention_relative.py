"""Products with vectors for distances (disentangled attention): kernels give what the reference defines."""

import numpy as np
import pytest
import torch

from weft.ops.attention import (
    AttentionCase,
    AttentionParams,
    RelativeTerms,
    attention_plan,
    choose_attention,
    matmul,
    ranges,
    reference,
)
from weft.ops.attention.by_piece import by_piece

HEADS, SIZE, LENGTHS, BLOCKS = 3, 8, (1, 200, 17), 13           # the second has several tiles and blocks of keys
RANDOM = torch.Generator().manual_seed(4)


def terms(*, keys: bool = True, queries: bool = True, farthest: int = 9) -> RelativeTerms:
    rows = torch.randint(12, (2 * farthest + 1,), generator=RANDOM)
    table = [torch.randn(HEADS, 12, SIZE, generator=RANDOM) if there else None for there in (keys, queries)]
    return RelativeTerms(keys=table[0], queries=table[1], rows=rows)


def run(kernel, relative: RelativeTerms | None, radius: int | None = None) -> torch.Tensor:
    random = torch.Generator().manual_seed(7)
    q, k, v = (torch.randn(sum(LENGTHS), HEADS, SIZE, generator=random) for _ in range(3))
    table = np.arange(3 * BLOCKS, dtype=np.int32).reshape(3, BLOCKS)
    at = np.concatenate([np.arange(n) for n in LENGTHS])
    slots = table[np.repeat(np.arange(3), LENGTHS), at // 16] * 16 + at % 16
    plan = attention_plan(query_lens=LENGTHS, seq_lens=LENGTHS, num_decodes=1, slots=slots, table=table, window=None,
                          block_size=16, ranges=ranges.bidirectional(LENGTHS, LENGTHS, radius))
    caches = [torch.zeros(3 * BLOCKS, HEADS, 16, SIZE) for _ in range(2)]
    return kernel(q, k, v, *caches, plan, AttentionParams(scale=0.3, relative=relative))


@pytest.mark.parametrize("there", [{}, {"keys": False}, {"queries": False}], ids=["both", "queries", "keys"])
@pytest.mark.parametrize("radius", [None, 6])
def test_products_by_piece_are_the_references(there, radius):
    relative = terms(**there)
    expected = run(reference.run, relative, radius)

    assert torch.allclose(run(by_piece(matmul.attend), relative, radius), expected, atol=2e-5)
    assert (expected - run(reference.run, None, radius)).abs().max() > 0.1


def test_kernels_without_these_products_are_not_chosen():
    case = AttentionCase(device="cpu", dtype=torch.float32, head_dim=SIZE, softcap=False, alibi=False, relative=True)

    assert choose_attention(case).name == "matmul"
