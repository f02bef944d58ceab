"""Every norm kernel computes what the definition says, and each row as if it were alone."""

import math

import pytest
import torch
from isa_levels import native_levels

from weft.ops.norm import NormCase, NormOptions, choose_norm, fused, reference

TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}      # one rounding of values up to 4
KINDS = {
    "rms": NormOptions(centred=False, eps=1e-6, cast_before_weight=True),
    "rms-rounded-once": NormOptions(centred=False, eps=1e-6),
    "rms-offset": NormOptions(centred=False, eps=1e-6, offset=1.0),
    "layer": NormOptions(centred=True, eps=1e-5),
}
levels = pytest.mark.parametrize("isa", native_levels())
floats = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def native(isa, dtype, options, weight, bias=None):
    choice = choose_norm(NormCase(device="cpu", dtype=dtype, options=options, isa=isa))
    assert choice.name == "native"
    return choice.prepare(weight, bias, options)


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 7), (5, 64), (9, 301), (3, 16)], ids=str)
def test_the_native_kernel_is_the_definition(isa, dtype, kind, shape):
    options, x = KINDS[kind], (random(*shape) + 0.5).to(dtype)
    weight = random(shape[1], seed=1).to(dtype)
    bias = random(shape[1], seed=2).to(dtype) if options.centred else None

    out = native(isa, dtype, options, weight, bias)(x, torch.full(shape, torch.nan, dtype=dtype))

    torch.testing.assert_close(out, reference.ReferenceNorm(weight, bias, options)(x), atol=TOLERANCE[dtype],
                               rtol=TOLERANCE[dtype])


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_with_a_residual_the_rounded_result_is_added_to_it(isa, dtype, kind, alpha):
    options, x, stream = KINDS[kind], random(9, 301).to(dtype), random(9, 320, seed=3).to(dtype)
    weight, bias = random(301, seed=1).to(dtype), random(301, seed=2).to(dtype) if options.centred else None
    norm, residual = native(isa, dtype, options, weight, bias), stream[:, 10:311]
    wanted = residual.float().add(norm(x).float(), alpha=alpha).to(dtype)

    out = norm(x, residual=residual, alpha=alpha)

    assert out.data_ptr() == residual.data_ptr()
    torch.testing.assert_close(out, wanted, atol=TOLERANCE[dtype] / 4, rtol=TOLERANCE[dtype] / 4)
    assert torch.equal(stream[:, :10], random(9, 320, seed=3).to(dtype)[:, :10])
    expected = reference.ReferenceNorm(weight, bias, options)(x, residual=random(9, 320, seed=3).to(dtype)[:, 10:311],
                                                              alpha=alpha)
    torch.testing.assert_close(out, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
@pytest.mark.parametrize("residual", [torch.ones(1, 9), torch.ones(1, 8).half(), torch.ones(1, 16)[:, ::2]])
def test_a_residual_of_another_shape_or_dtype_is_an_error(isa, residual):
    with pytest.raises(ValueError, match=r"residual is .*; expected torch\.float32 \(1, 8\)"):
        native(isa, torch.float32, KINDS["rms"], torch.ones(8))(torch.ones(1, 8), residual=residual)


def rows_in_nan(rows, columns, dtype, seed):
    """[rows, columns], as every second row and inner columns of memory that holds NaN elsewhere."""
    view = torch.full((2 * rows, columns + 9), torch.nan, dtype=dtype)[::2, 4 : 4 + columns]
    return view.copy_(random(rows, columns, seed=seed))


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 7), (9, 301), (3, 64)], ids=str)
def test_a_residual_may_be_added_first_and_the_sum_is_kept(isa, dtype, kind, shape):
    options, weight = KINDS[kind], random(shape[1], seed=1).to(dtype)
    bias = random(shape[1], seed=2).to(dtype) if options.centred else None
    x, residual = (rows_in_nan(*shape, dtype, seed) for seed in (3, 4))
    norm = native(isa, dtype, options, weight, bias)

    out, total = norm.add(x, residual)

    assert torch.equal(total, x + residual) and torch.equal(out, norm(total))
    expected = reference.ReferenceNorm(weight, bias, options).add(x, residual)
    torch.testing.assert_close((out, total), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
def test_adding_first_gives_a_row_the_same_bits_alone_and_in_memory_that_is_given(isa, dtype, kind):
    x, residual = rows_in_nan(40, 70, dtype, 3), rows_in_nan(40, 70, dtype, 4)
    norm = native(isa, dtype, KINDS[kind], random(70, seed=1).to(dtype))
    out, total = norm.add(x, residual)

    for i in range(40):
        assert torch.equal(norm.add(x[i : i + 1].clone(), residual[i : i + 1].clone())[0], out[i : i + 1])
    stream, given = residual.clone(), rows_in_nan(40, 70, dtype, 5)
    in_place = norm.add(x, stream, given, stream)
    assert in_place[0] is given and in_place[1] is stream
    assert torch.equal(given, out) and torch.equal(stream, total)


@levels
def test_adding_first_refuses_what_does_not_fit(isa):
    norm, x = native(isa, torch.float32, KINDS["rms"], torch.ones(8)), torch.ones(2, 8)
    for arguments, said in (((x, torch.ones(1, 8)), r"residual is .*\(1, 8\)"),
                            ((x, x, torch.ones(2, 8).half()), r"out is torch\.float16"),
                            ((x, x, None, torch.ones(2, 16)[:, ::2]), r"total is .*stride \(16, 2\)"),
                            ((x, x, x, x), "out and total are the same memory")):
        with pytest.raises(ValueError, match=said):
            norm.add(*arguments)


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_bitwise_the_same_alone_and_where_it_lies_does_not_matter(isa, dtype, kind):
    x = random(40, 90).to(dtype)
    norm = native(isa, dtype, KINDS[kind], random(70, seed=1).to(dtype))
    together = norm(x[:, 10:80])

    assert all(torch.equal(norm(x[i : i + 1, 10:80].clone()), together[i : i + 1]) for i in range(40))


@levels
def test_a_layer_norm_needs_no_weight(isa):
    x = random(3, 33)

    torch.testing.assert_close(native(isa, torch.float32, KINDS["layer"], None)(x),
                               torch.nn.functional.layer_norm(x, (33,)), atol=1e-6, rtol=1e-5)


@levels
def test_x_of_another_dtype_is_an_error(isa):
    with pytest.raises(ValueError, match=r"x is torch\.bfloat16, the norm was made for torch\.float32"):
        native(isa, torch.float32, KINDS["rms"], torch.ones(8))(torch.ones(1, 8).bfloat16())


@pytest.mark.parametrize("shape", [(1, 7), (5, 64), (3, 4, 20), (1000, 301), (70, 16, 130)], ids=str)
def test_fused_rms_norm_is_the_definition(shape):
    x, weight = random(*shape), random(shape[-1], seed=1)

    torch.testing.assert_close(fused.rms_norm(x, weight, 1e-5), reference.rms_norm(x, weight, 1e-5, 0.0, True))


def test_rms_norm_with_a_weight_for_each_head_norms_each_head_alone():
    x, weight = random(3, 4, 20), random(4, 20, seed=1)
    heads = [reference.rms_norm(x[:, h], weight[h], 1e-5, 0.0, True) for h in range(4)]

    torch.testing.assert_close(fused.rms_norm(x, weight, 1e-5), torch.stack(heads, dim=1))


def test_without_native_kernels_an_offset_norm_is_the_references_because_its_weight_is_stored_minus_one():
    options = NormOptions(centred=False, eps=0.0, offset=1.0)
    choice = choose_norm(NormCase(device="cpu", dtype=torch.float32, options=options))

    out = choice.prepare(torch.tensor([0.0, 1.0]), None, options)(torch.tensor([[3.0, 4.0]]))

    assert choice.name == "reference"
    torch.testing.assert_close(out, torch.tensor([[3.0, 8.0]]) / math.sqrt(12.5))


@pytest.mark.parametrize("has_weight", [True, False])
def test_fused_layer_norm_is_the_definition(has_weight):
    x = random(5, 33)
    weight, bias = (random(33, seed=1), random(33, seed=2)) if has_weight else (None, None)

    torch.testing.assert_close(fused.layer_norm(x, weight, bias, 1e-5), reference.layer_norm(x, weight, bias, 1e-5))
