"""Every attention kernel computes what the reference defines, for packed mixed steps over a paged cache."""

import pytest
import torch
from attention_steps import Sequences, stacked
from isa_levels import native_levels

from weft.errors import NotBuiltError
from weft.ops.attention import (
    AlibiBias,
    AttentionCase,
    AttentionParams,
    alibi_slopes,
    choose_attention,
    cpu,
    matmul,
    reference,
    sdpa,
)
from weft.ops.attention.by_piece import by_piece
from weft.ops.kernel import Kernel, choose
from weft.ops.native import extension

# (tokens in the cache after the step, tokens of this step); decodes come first.
STEPS = {
    "one-token": [(1, 1)],
    "one-decode": [(37, 1)],
    "decodes-of-uneven-length": [(5, 1), (300, 1), (63, 1), (64, 1), (16, 1)],
    "a-prompt": [(63, 63)],
    "a-chunk-with-context": [(80, 17)],
    "mixed": [(33, 1), (2, 1), (50, 50), (90, 7), (17, 16)],
    "longer-than-a-tile": [(700, 700), (1100, 530)],
    "longer-than-a-segment": [(1030, 1), (515, 3), (1100, 20)],
}
NATIVE = {isa: cpu.make_run(isa) for isa in native_levels()}
SDPA, MATMUL = by_piece(sdpa.attend), by_piece(matmul.attend)
KERNELS = {"sdpa": SDPA, "matmul": MATMUL} | NATIVE
# Of results of order one: float32 sums of a thousand products; else a rounding of the weights and one of the result.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}

each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
each_native = pytest.mark.parametrize("kernel", NATIVE.values(), ids=NATIVE.keys())


def compare(kernel, step, params, *, window=None, **sizes):
    """The kernel's results of the last of two steps (context, then `step`) against the reference's."""
    sequences = Sequences([length for length, _ in step], **sizes)
    context = [(seq, 0, length - new) for seq, (length, new) in enumerate(step) if length > new]
    context.sort(key=lambda part: part[2] > 1)
    steps = [context] * bool(context) + [[(seq, length - new, length) for seq, (length, new) in enumerate(step)]]
    places = [(seq, p) for seq, start, end in steps[-1] for p in range(start, end)]
    out = stacked(sequences.run(kernel, steps, params, window=window), places)
    wanted = stacked(sequences.run(reference.run, steps, params, window=window), places)

    tolerance = TOLERANCE[out.dtype]
    torch.testing.assert_close(out, wanted, atol=tolerance, rtol=tolerance)
    return out


@pytest.mark.parametrize("window", [None, 12, 64], ids=lambda w: f"window-{w}")
@pytest.mark.parametrize("heads", [(4, 4), (8, 2), (6, 1)], ids=lambda h: f"{h[0]}-of-{h[1]}")
@pytest.mark.parametrize("step", STEPS)
@each_kernel
def test_a_kernel_gives_what_the_reference_gives(kernel, step, heads, window):
    compare(kernel, STEPS[step], AttentionParams(scale=20**-0.5), window=window, heads=heads[0], kv_heads=heads[1],
            head_dim=20)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("head_dim", [8, 32, 64, 80, 96, 128, 256])
@each_native
def test_heads_of_many_sizes_in_each_dtype(kernel, head_dim, dtype):
    compare(kernel, STEPS["mixed"], AttentionParams(scale=head_dim**-0.5), heads=4, kv_heads=2, head_dim=head_dim,
            dtype=dtype)


@each_native
def test_more_query_heads_of_a_kv_head_than_rows_of_an_item(kernel):
    compare(kernel, [(70, 1), (600, 2), (40, 40)], AttentionParams(scale=0.25), heads=142, kv_heads=2, head_dim=16)


@pytest.mark.parametrize("is_bfloat16", [False, True])
@each_kernel
def test_alibi_is_added_as_the_reference_adds_it(kernel, is_bfloat16):
    alibi = AlibiBias(slopes=alibi_slopes(6), scale=0.7, is_bfloat16=is_bfloat16)

    compare(kernel, STEPS["mixed"], AttentionParams(scale=0.25, alibi=alibi), heads=6, kv_heads=2, head_dim=16)


@pytest.mark.parametrize("kernel", (MATMUL, *NATIVE.values()), ids=("matmul", *NATIVE))
def test_the_soft_cap_bounds_the_scores_as_in_the_reference(kernel):
    sizes = {"heads": 4, "kv_heads": 2, "head_dim": 16}
    capped = compare(kernel, STEPS["mixed"], AttentionParams(scale=1.0, softcap=3.0), **sizes)

    assert (capped - compare(kernel, STEPS["mixed"], AttentionParams(scale=1.0), **sizes)).abs().max() > 0.01


@pytest.mark.parametrize("step", ["one-token", "mixed", "longer-than-a-segment"])
@each_native
def test_sinks_take_weight_as_in_the_reference(kernel, step):
    sinks = torch.tensor([-1.0, 0.0, 2.0, 5.0])

    compare(kernel, STEPS[step], AttentionParams(scale=0.25, sinks=sinks), heads=4, kv_heads=2, head_dim=16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@each_kernel
def test_half_precision_stays_within_its_rounding(kernel, dtype):
    compare(kernel, STEPS["mixed"], AttentionParams(scale=32**-0.5), heads=4, kv_heads=2, head_dim=32, dtype=dtype)


@pytest.mark.parametrize("kv_dtype", [torch.int8, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@each_kernel
def test_a_cache_of_8_bits_gives_what_the_reference_makes_of_it(kernel, dtype, kv_dtype):
    for head_dim in (20, 64):
        compare(kernel, STEPS["mixed"], AttentionParams(scale=head_dim**-0.5), heads=4, kv_heads=2, head_dim=head_dim,
                dtype=dtype, kv_dtype=kv_dtype)


@pytest.mark.parametrize("group", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("kv_dtype", [torch.int8, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@each_kernel
def test_a_cache_of_8_bits_serves_any_number_of_queries_for_a_head(kernel, kv_dtype, group):
    compare(kernel, STEPS["decodes-of-uneven-length"], AttentionParams(scale=128**-0.5), heads=2 * group, kv_heads=2,
            head_dim=128, window=70, dtype=torch.bfloat16, kv_dtype=kv_dtype)


@pytest.mark.parametrize("kv_dtype", [torch.int8, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@each_native
def test_numbers_at_the_ends_of_8_bits_are_cached_as_the_definition_caches_them(kernel, kv_dtype):
    values = torch.tensor([0.0, -0.0, 1e-9, 2.0**-9, 2.0**-17, -3 * 2.0**-10, 0.0156, 1.0625, 247.9, 448.0, 464.0, 5e4,
                           -57344.0, 1e6, 1e-30, 3.0])
    sequences = Sequences([1], heads=1, kv_heads=1, head_dim=16, kv_dtype=kv_dtype)
    sequences.tokens[0][2][0, 0] = values                       # one key: its value comes out as it was cached
    params = AttentionParams(scale=0.25)

    out = sequences.run(kernel, [[(0, 0, 1)]], params)[0, 0]

    torch.testing.assert_close(out, sequences.run(reference.run, [[(0, 0, 1)]], params)[0, 0], rtol=1e-6, atol=0)


@each_kernel
def test_what_is_not_a_number_in_a_sequence_is_not_one_in_its_results(kernel):
    for kv_dtype in (torch.float32, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2):
        sequences = Sequences([40], heads=2, kv_heads=1, head_dim=16, kv_dtype=kv_dtype)
        sequences.tokens[0][1][20, 0, 3] = torch.nan

        out = sequences.run(kernel, [[(0, 0, 30)], [(0, 30, 31)]], AttentionParams(scale=0.25))

        assert torch.isnan(out[0, 29]).all() and torch.isnan(out[0, 30]).all()


@pytest.mark.parametrize("kv_dtype", [torch.float32, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@each_kernel
def test_a_value_that_is_not_a_number_makes_its_dimension_none(kernel, kv_dtype):
    sequences = Sequences([40], heads=2, kv_heads=1, head_dim=16, kv_dtype=kv_dtype)
    sequences.tokens[0][2][20, 0, 3] = torch.nan

    out = sequences.run(kernel, [[(0, 0, 30)], [(0, 30, 31)]], AttentionParams(scale=0.25))

    for row in (out[0, 29], out[0, 30]):
        assert torch.isnan(row).nonzero()[:, -1].tolist() == [3, 3]              # of both heads


def test_alibi_slopes_are_the_papers():
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(12)[8:].tolist() == pytest.approx([2.0 ** -(i + 0.5) for i in range(4)])


def test_the_choice_keeps_the_reasons_of_kernels_that_refused():
    case = AttentionCase(device="cpu", dtype=torch.float16, head_dim=64, softcap=False, alibi=False)

    choice = choose_attention(case)

    assert choice.name == "sdpa"
    assert str(choice) == "sdpa (native: cpu_isa is reference; matmul: float16 products are slow on CPUs)"


@pytest.mark.skipif(not NATIVE, reason="weft was installed without its native kernels")
@pytest.mark.parametrize(("change", "reason"), [
    ({"head_dim": 320}, "head_dim 320"), ({"head_dim": 65}, "head_dim 65"), ({"dtype": torch.float64}, "torch.float64"),
    ({"block_size": 32}, "block_size 32"), ({"cache_dtype": torch.float16}, "torch.float16 cache of a torch.bfloat16"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_the_native_kernel_refuses_what_it_does_not_compute(change, reason):
    case = {"device": "cpu", "dtype": torch.bfloat16, "head_dim": 64, "softcap": False, "alibi": False,
            "isa": "portable"}

    assert choose_attention(AttentionCase(**case)).name == "native"
    assert reason in dict(choose_attention(AttentionCase(**case | change)).refused)["native"]


@pytest.mark.skipif(not NATIVE or not extension().checks, reason="weft was built without WEFT_CHECKS")
def test_debug_builds_refuse_blocks_outside_the_cache():
    sequences = Sequences([40], heads=2, kv_heads=1, head_dim=16)
    sequences.tables[0][1] = 400

    with pytest.raises(IndexError, match=r"slot_mapping.* = 6400: expected 0 to 6399"):
        sequences.run(NATIVE["portable"], [[(0, 0, 40)]], AttentionParams(scale=0.25))
    with pytest.raises(IndexError, match=r"block_table\[0, 1\] = 400: expected 0 to 399"):
        sequences.run(NATIVE["portable"], [[(0, 39, 40)]], AttentionParams(scale=0.25))


def test_when_all_kernels_refuse_the_error_joins_the_reasons():
    kernels = [
        Kernel("flash", None, lambda case: "head_dim 512 > 256"),
        Kernel("cpu", None, lambda case: "needs bfloat16"),
    ]

    with pytest.raises(NotBuiltError, match="flash: head_dim 512 > 256; cpu: needs bfloat16"):
        choose("attention", kernels, {"head_dim": 512})
