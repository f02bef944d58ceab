"""Attention over latents: only keys are cached, and the last numbers of a key are its value."""

import pytest
import torch
from attention_steps import Sequences, stacked
from isa_levels import native_levels

from weft.ops.attention import AttentionParams, cpu, matmul, reference, sdpa
from weft.ops.attention.by_piece import by_piece

NATIVE = {isa: cpu.make_run(isa) for isa in native_levels()}
KERNELS = {"sdpa": by_piece(sdpa.attend), "matmul": by_piece(matmul.attend)} | NATIVE
# As in test_attention.py: float32 sums of a thousand products; else a rounding of the weights and one of the result.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
# (numbers of a row, those of its value, query heads)
SIZES = {"deepseek": (576, 512, 16), "many-heads": (96, 64, 100), "tiles": (96, 64, 3), "no-whole-vectors": (46, 36, 3),
         "all-of-it": (64, 64, 3)}
LARGE = ("deepseek", "many-heads")          # of these sizes short sequences only: levels may be emulated


def step_of(size):
    """(tokens in the cache after the step, tokens of the step) of its sequences."""
    return [(33, 1), (2, 1), (70, 1), (20, 20)] if size in LARGE else [
        (33, 1), (2, 1), (530, 1), (50, 50), (90, 7), (17, 16)]


KV_DTYPES = [None, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2]

each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
each_native = pytest.mark.parametrize("kernel", NATIVE.values(), ids=NATIVE.keys())
each_size = pytest.mark.parametrize("size", SIZES)


def latents(size, lengths, **options):
    head_dim, value_dim, heads = SIZES[size]
    sequences = Sequences(lengths, heads=heads, kv_heads=1, head_dim=head_dim, latents=True, **options)
    return sequences, AttentionParams(scale=head_dim**-0.5, value_dim=value_dim)


def compare(kernel, size, **options):
    step = step_of(size)
    sequences, params = latents(size, [length for length, _ in step], **options)
    context = [(seq, 0, length - new) for seq, (length, new) in enumerate(step) if length > new]
    context.sort(key=lambda part: part[2] > 1)
    steps = [context, [(seq, length - new, length) for seq, (length, new) in enumerate(step)]]
    places = [(seq, p) for seq, start, end in steps[-1] for p in range(start, end)]
    out = stacked(sequences.run(kernel, steps, params), places)
    wanted = stacked(sequences.run(reference.run, steps, params), places)
    assert wanted.shape == (len(places), SIZES[size][2], SIZES[size][1])

    tolerance = TOLERANCE[out.dtype]
    torch.testing.assert_close(out, wanted, atol=tolerance, rtol=tolerance)


def test_the_reference_reads_the_last_numbers_of_a_key_as_its_value():
    sequences, params = latents("no-whole-vectors", [40])
    step = [(0, 0, 40)]
    q, k, _ = sequences.tokens[0]
    weights = (torch.einsum("qhd,kd->hqk", q, k[:, 0]) * params.scale)
    weights = weights.masked_fill(torch.ones(40, 40, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
    wanted = torch.einsum("hqk,kd->qhd", weights, k[:, 0, 10:])

    out = sequences.run(reference.run, [step], params)

    torch.testing.assert_close(stacked(out, [(0, p) for p in range(40)]), wanted)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@each_size
@each_kernel
def test_a_kernel_gives_what_the_reference_gives(kernel, size, dtype):
    compare(kernel, size, dtype=dtype)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES[1:], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", ["no-whole-vectors", "tiles"])
@each_native
def test_latents_of_8_bits_give_what_the_reference_makes_of_them(kernel, size, dtype, kv_dtype):
    compare(kernel, size, dtype=dtype, kv_dtype=kv_dtype)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES, ids=str)
@pytest.mark.parametrize("size", ["deepseek", "tiles", "no-whole-vectors"])
@each_native
def test_rows_have_the_same_bits_alone_in_a_batch_in_chunks_and_as_decodes(kernel, size, kv_dtype):
    lengths = [600, 37, 70, 1] if size != "deepseek" else [70, 17, 1]
    sequences, params = latents(size, lengths, dtype=torch.bfloat16, kv_dtype=kv_dtype)
    whole = {}
    for seq, length in enumerate(lengths):
        whole |= sequences.run(kernel, [[(seq, 0, length)]], params)
    order = sorted(range(len(lengths)), key=lambda seq: lengths[seq] > 1)
    chunks = [[(0, first, min(first + 31, lengths[0]))] for first in range(0, lengths[0], 31)]
    prompts = [[(seq, 0, length - 1)] for seq, length in enumerate(lengths) if length > 1]
    decodes = [(seq, length - 1, length) for seq, length in enumerate(lengths)]

    for steps in ([[(seq, 0, lengths[seq]) for seq in order]], chunks, [*prompts, decodes]):
        out = sequences.run(kernel, steps, params)
        assert torch.equal(stacked(out, out), stacked(whole, out))


@each_native
def test_decodes_that_share_blocks_get_what_they_get_alone(kernel):
    lengths = [128 + n for n in (1, 30, 400, 64)]
    sequences, params = latents("tiles", lengths, dtype=torch.bfloat16, shared=128)
    decodes = [(seq, length - 1, length) for seq, length in enumerate(lengths)]
    prompts = [[(seq, 128, length - 1)] for seq, length in enumerate(lengths) if length > 129]
    assert sequences.plan(decodes).prefixes.shared.tolist() == [2] * 4

    out = sequences.run(kernel, [[(0, 0, 128)], *prompts, decodes], params)

    for seq, length in enumerate(lengths):
        alone = sequences.run(kernel, [[(seq, 0, length)]], params)
        assert torch.equal(out[seq, length - 1], alone[seq, length - 1])


@each_native
def test_what_is_not_a_number_in_a_block_that_a_step_fills_partly_does_not_reach_the_results(kernel):
    sequences, params = latents("many-heads", [40, 3], dtype=torch.bfloat16)      # caches begin as NaN

    out = sequences.run(kernel, [[(0, 0, 20), (1, 0, 3)], [(0, 20, 21)]], params)

    assert all(row.isfinite().all() for row in out.values())


def test_the_native_kernel_says_which_latents_it_cannot_take():
    assert cpu.refuses(torch.bfloat16, torch.bfloat16, 576, 16, 512) is None
    assert "640" in cpu.refuses(torch.bfloat16, torch.bfloat16, 640, 16, 512)
    assert "value_dim 35" in cpu.refuses(torch.bfloat16, torch.bfloat16, 46, 16, 35)
    assert "head_dim 576" in cpu.refuses(torch.bfloat16, torch.bfloat16, 576, 16)
