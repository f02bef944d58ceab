"""Every attention kernel computes what the reference defines, for packed mixed steps over a paged cache."""

import pytest
import torch

from weft.errors import NotBuiltError
from weft.ops.attention import (
    AlibiBias,
    AttentionCase,
    AttentionParams,
    alibi_slopes,
    attention_plan,
    choose_attention,
    matmul,
    reference,
    sdpa,
)
from weft.ops.attention.by_piece import by_piece
from weft.ops.kernel import Kernel, choose

# (tokens in the cache after the step, tokens of this step); decodes come first.
STEPS = {
    "one-token": [(1, 1)],
    "one-decode": [(37, 1)],
    "decodes-of-uneven-length": [(5, 1), (300, 1), (63, 1), (64, 1), (16, 1)],
    "a-prompt": [(63, 63)],
    "a-chunk-with-context": [(80, 17)],
    "mixed": [(33, 1), (2, 1), (50, 50), (90, 7), (17, 16)],
    "longer-than-a-tile": [(700, 700), (1100, 530)],
}
SDPA, MATMUL = by_piece(sdpa.attend), by_piece(matmul.attend)
TOLERANCE = 2e-5  # float32, sums of at most a thousand products of order one


def make_step(lengths, *, heads, kv_heads, head_dim, window=None, block_size=16, dtype=torch.float32):
    """Random q, k, v, caches that hold NaN where nothing may be read, and the plan."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    tables, free = [], torch.randperm(400, generator=generator).tolist()
    for length, _ in lengths:
        tables.append([free.pop() for _ in range(-(-length // block_size))])
    width = max(map(len, tables))
    table = torch.tensor([t + [-1] * (width - len(t)) for t in tables])
    caches = [torch.full((400, kv_heads, block_size, head_dim), torch.nan, dtype=dtype) for _ in range(2)]
    for cache in caches:
        for blocks, (length, new) in zip(tables, lengths, strict=True):
            written = noise(len(blocks) * block_size, kv_heads, head_dim)
            written[length - new :] = 0
            cache[blocks] = written.view(len(blocks), block_size, kv_heads, head_dim).transpose(1, 2)
    for blocks, (length, new) in zip(tables, lengths, strict=True):
        if length - new <= (len(blocks) - 1) * block_size:
            for cache in caches:
                cache[blocks[-1]] = torch.nan  # what an earlier owner may have left
    slots = torch.tensor(
        [
            t[p // block_size] * block_size + p % block_size
            for t, (length, new) in zip(tables, lengths, strict=True)
            for p in range(length - new, length)
        ]
    )
    total = len(slots)
    plan = attention_plan(
        query_lens=[new for _, new in lengths],
        seq_lens=[length for length, _ in lengths],
        num_decodes=sum(1 for _, new in lengths if new == 1),
        slots=slots.numpy(),
        table=table.numpy(),
        window=window,
        block_size=block_size,
    )
    return (
        noise(total, heads, head_dim),
        noise(total, kv_heads, head_dim),
        noise(total, kv_heads, head_dim),
        *caches,
        plan,
    )


def run(kernel, step, params):
    q, k, v, k_cache, v_cache, plan = step
    return kernel(q.clone(), k, v, k_cache.clone(), v_cache.clone(), plan, params)


@pytest.mark.parametrize("window", [None, 12, 64], ids=lambda w: f"window-{w}")
@pytest.mark.parametrize("heads", [(4, 4), (8, 2), (6, 1)], ids=lambda h: f"{h[0]}-of-{h[1]}")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kernel", [SDPA, MATMUL], ids=["sdpa", "matmul"])
def test_a_kernel_gives_what_the_reference_gives(kernel, step, heads, window):
    data = make_step(STEPS[step], heads=heads[0], kv_heads=heads[1], head_dim=20, window=window)
    params = AttentionParams(scale=20**-0.5)

    torch.testing.assert_close(
        run(kernel, data, params), run(reference.run, data, params), atol=TOLERANCE, rtol=TOLERANCE
    )


@pytest.mark.parametrize("is_bfloat16", [False, True])
@pytest.mark.parametrize("kernel", [SDPA, MATMUL], ids=["sdpa", "matmul"])
def test_alibi_is_added_as_the_reference_adds_it(kernel, is_bfloat16):
    data = make_step(STEPS["mixed"], heads=6, kv_heads=2, head_dim=16)
    params = AttentionParams(scale=0.25, alibi=AlibiBias(slopes=alibi_slopes(6), scale=0.7, is_bfloat16=is_bfloat16))

    torch.testing.assert_close(
        run(kernel, data, params), run(reference.run, data, params), atol=TOLERANCE, rtol=TOLERANCE
    )


def test_the_soft_cap_bounds_the_scores_as_in_the_reference():
    data = make_step(STEPS["mixed"], heads=4, kv_heads=2, head_dim=16)
    capped = run(MATMUL, data, AttentionParams(scale=1.0, softcap=3.0))

    torch.testing.assert_close(
        capped, run(reference.run, data, AttentionParams(scale=1.0, softcap=3.0)), atol=TOLERANCE, rtol=TOLERANCE
    )
    assert (capped - run(MATMUL, data, AttentionParams(scale=1.0))).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kernel", [SDPA, MATMUL], ids=["sdpa", "matmul"])
def test_half_precision_stays_within_its_rounding(kernel, dtype):
    data = make_step(STEPS["mixed"], heads=4, kv_heads=2, head_dim=32, dtype=dtype)
    params = AttentionParams(scale=32**-0.5)
    bound = 3e-2 if dtype == torch.bfloat16 else 4e-3  # a few units of the last place of values up to 4

    torch.testing.assert_close(
        run(kernel, data, params).float(), run(reference.run, data, params).float(), atol=bound, rtol=bound
    )


def test_alibi_slopes_are_the_papers():
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(12)[8:].tolist() == pytest.approx([2.0 ** -(i + 0.5) for i in range(4)])


def test_the_choice_keeps_the_reasons_of_kernels_that_refused():
    case = AttentionCase(device="cpu", dtype=torch.float16, head_dim=64, softcap=False, alibi=False)

    choice = choose_attention(case)

    assert choice.kernel.name == "sdpa"
    assert str(choice) == "sdpa (matmul: float16 products are slow on CPUs)"


def test_when_all_kernels_refuse_the_error_joins_the_reasons():
    kernels = [
        Kernel("flash", None, lambda case: "head_dim 512 > 256"),
        Kernel("cpu", None, lambda case: "needs bfloat16"),
    ]

    with pytest.raises(NotBuiltError, match="flash: head_dim 512 > 256; cpu: needs bfloat16"):
        choose("attention", kernels, {"head_dim": 512})
