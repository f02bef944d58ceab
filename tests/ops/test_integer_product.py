"""Products of 8-bit activations and 8-bit weights are the definition's at every level, each row as if it were alone."""

import pytest
import torch
from isa_levels import native_levels

from weft.ops.linear import Epilogue, LinearCase, choose_linear
from weft.ops.linear.integers import MOST_COLUMNS
from weft.ops.linear.reference import IntegerProduct, TorchParts, quantized_rows
from weft.ops.quantized import QuantizedWeight, quantize, stacked

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
# Sums of codes are exact, so what differs is the rounding of three float32 operations, then of the result.
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}
SHAPES = [(100, 130), (257, 301), (64, 64), (31, 2100), (1, 1), (65, 4099)]
levels = pytest.mark.parametrize("isa", native_levels())
floats = pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: str(d).removeprefix("torch."))


def random(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def product(weight, isa, dtype, bias=None, *, act=None, gated=False):
    case = LinearCase(device="cpu", dtype=dtype, in_features=weight.shape[1], out_features=weight.shape[0], isa=isa,
                      gated=gated, quantization="w8a8")
    choice = choose_linear(case)
    assert choice.name == ("torch" if isa == "reference" else "native"), str(choice)
    return choice.prepare(weight, bias, Epilogue(act=act, gated=gated, out_dtype=dtype))


def extreme_codes(rows, columns):
    """All weights at -128, all of x at its largest: the largest sums there are."""
    return QuantizedWeight(codes=torch.zeros(rows, columns, dtype=torch.uint8), bits=8, zero=128, group_size=columns,
                           scales=torch.ones(rows, 1), int8_activations=True)


@levels
@floats
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("num_tokens", [1, 5, 7, 33])
def test_products_are_the_definitions(isa, dtype, shape, num_tokens):
    weight, x = quantize(random(*shape) / shape[1] ** 0.5, "w8a8"), random(num_tokens, shape[1], dtype=dtype, seed=1)
    bias = random(shape[0], dtype=dtype, seed=2)

    out = product(weight, isa, dtype, bias)(x, out=torch.full((num_tokens, shape[0]), torch.nan, dtype=dtype))

    exact = IntegerProduct(weight, bias, Epilogue(out_dtype=torch.float32))(x)
    torch.testing.assert_close(out.float(), exact, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
@floats
def test_without_a_bias_float32_results_are_bitwise_the_definitions(isa, dtype):
    weight, x = quantize(random(130, 333), "w8a8"), random(40, 333, dtype=dtype, seed=1)
    case = LinearCase(device="cpu", dtype=dtype, in_features=333, out_features=130, isa=isa, quantization="w8a8")
    epilogue = Epilogue(out_dtype=torch.float32)

    out = choose_linear(case).prepare(weight, None, epilogue)(x)

    assert torch.equal(out, IntegerProduct(weight, None, epilogue)(x))


def test_the_definition_is_that_of_its_docstring_by_integers():
    weight, x = quantize(random(70, 3000), "w8a8"), random(9, 3000, seed=1)
    scale = x.abs().amax(-1, keepdim=True) / 127
    codes = (x / scale).round().to(torch.int64)
    sums = codes @ (weight.codes.to(torch.int64) - 128).T

    out = IntegerProduct(weight, None, Epilogue(out_dtype=torch.float32))(x)

    assert codes.abs().amax(-1).eq(127).all()
    assert torch.equal(out, sums.float() * scale * weight.scales.T)


def test_halves_are_rounded_to_even():
    codes, scale = quantized_rows(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5]]))

    assert scale.item() == 1
    assert codes.tolist() == [[127, 0, 2, 2, 0, -2, 126]]


@levels
def test_kernels_round_halves_to_even_too(isa):
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5]])
    identity = QuantizedWeight(codes=(torch.eye(7) + 128).to(torch.uint8), bits=8, zero=128, group_size=7,
                               scales=torch.ones(7, 1), int8_activations=True)

    assert product(identity, isa, torch.float32)(x).tolist() == [[127, 0, 2, 2, 0, -2, 126]]


@levels
@floats
def test_a_row_is_bitwise_the_same_alone_and_in_any_company(isa, dtype):
    call = product(quantize(random(200, 4444) / 20, "w8a8"), isa, dtype, random(200, dtype=dtype, seed=4))
    x = random(300, 4444, dtype=dtype, seed=1)
    together = call(x)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(3))

    assert torch.equal(call(x[order]), together[order])
    for count in (1, 2, 3, 4, 5, 6, 7, 13, 16, 17, 100):
        assert torch.equal(call(x[20 : 20 + count]), together[20 : 20 + count])


@levels
@floats
@pytest.mark.parametrize("fault", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_becomes_nan_and_no_other(isa, dtype, fault):
    weight, x = quantize(random(70, 100), "w8a8"), random(9, 100, dtype=dtype, seed=1)
    call, clean = product(weight, isa, dtype), x.clone()
    x[4, 77], x[6, 0] = fault, fault

    out = call(x)

    bad = torch.tensor([4, 6])
    assert out[bad].isnan().all()
    good = torch.tensor([i for i in range(9) if i not in bad])
    assert torch.equal(out[good], call(clean)[good])


@levels
@floats
def test_rows_of_zeros_and_of_the_least_numbers_have_results(isa, dtype):
    weight, x = quantize(random(64, 96), "w8a8"), torch.zeros(3, 96, dtype=dtype)
    x[1, 5], x[2, 5] = torch.finfo(dtype).smallest_normal, torch.finfo(dtype).max
    bias = random(64, dtype=dtype, seed=3)

    out = product(weight, isa, dtype, bias)(x)

    assert torch.equal(out[0], bias)
    exact = IntegerProduct(weight, bias, Epilogue(out_dtype=dtype))(x)
    torch.testing.assert_close(out, exact, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
@pytest.mark.parametrize("columns", [MOST_COLUMNS, MOST_COLUMNS - 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_do_not_overflow(isa, columns, sign):
    x = torch.full((2, columns), 127.0 * sign)

    out = product(extreme_codes(3, columns), isa, torch.float32)(x)

    assert torch.equal(out, torch.full((2, 3), -128.0 * 127 * columns * sign))


def test_more_columns_are_refused_and_computed_by_torch():
    case = LinearCase(device="cpu", dtype=torch.float32, in_features=MOST_COLUMNS + 2, out_features=2, isa="portable",
                      quantization="w8a8")
    choice = choose_linear(case)

    out = choice.prepare(extreme_codes(2, MOST_COLUMNS + 2), None, Epilogue(out_dtype=torch.float32))(
        torch.full((1, MOST_COLUMNS + 2), 127.0))

    assert choice.name == "torch"
    assert "131074 columns: sums of more than 131072 leave 32 bits" in str(choice) or not native_levels()
    assert out.tolist() == [[-127.0 * 128 * (MOST_COLUMNS + 2)] * 2]


@pytest.mark.parametrize("isa", ["reference", *native_levels()])
@floats
@pytest.mark.parametrize("gated", [False, True, "of 40"])
def test_activations_gates_and_residuals_follow_as_behind_floats(isa, dtype, gated):
    rows, gated = (80, True) if gated == "of 40" else (192, gated)
    weight, x = quantize(random(rows, 96) / 5, "w8a8"), random(9, 96, dtype=dtype, seed=1)
    width = rows // 2 if gated else rows
    residual = random(9, width, dtype=dtype, seed=2)
    plain = IntegerProduct(weight, None, Epilogue(act="silu", gated=gated, out_dtype=torch.float32))(x)
    exact = residual.float() + 0.25 * plain

    out = product(weight, isa, dtype, act="silu", gated=gated)(x, residual, alpha=0.25)

    assert out is residual
    torch.testing.assert_close(out.float(), exact, atol=8 * TOLERANCE[dtype], rtol=4 * TOLERANCE[dtype])


@pytest.mark.parametrize("isa", ["reference", *native_levels()])
def test_parts_in_integers_stand_beside_parts_in_floats(isa):
    whole, x = random(96, 64), random(5, 64, seed=1)
    parts = [quantize(whole[:64], "w8a8"), whole[64:].clone()]
    case = LinearCase(device="cpu", dtype=torch.float32, in_features=64, out_features=96, isa=isa)
    bias, residual = random(96, seed=2), random(5, 96, seed=3)
    epilogue = Epilogue(out_dtype=torch.float32)
    exact = residual + torch.cat([IntegerProduct(parts[0], None, epilogue)(x), x @ whole[64:].T], dim=1) + bias

    out = choose_linear(case).prepare(parts, bias, epilogue)(x, residual)

    torch.testing.assert_close(out, exact, atol=1e-5, rtol=1e-5)


def test_two_stacked_are_one_unless_only_one_is_of_integers():
    first, second = quantize(random(8, 64), "w8a8"), quantize(random(8, 64, seed=1), "w8a8")

    assert stacked([first, second]).int8_activations
    assert stacked([first, second.weight_only()]) is None


@levels
def test_rows_of_a_matrix_of_integers_are_its_rows(isa):
    weight, ids = quantize(random(70, 67), "w8a8"), torch.tensor([0, 69, 33])

    assert torch.equal(product(weight, isa, torch.float32).rows(ids), weight.dequantize()[ids])
    assert torch.equal(product(weight, "reference", torch.float32).rows(ids), weight.dequantize()[ids])


def test_rows_of_a_product_in_parts_are_those_of_its_parts():
    epilogue = Epilogue(out_dtype=torch.float32)
    codes = [quantize(random(rows, 64), "w8a8") for rows in (8, 5)]
    parts = TorchParts([IntegerProduct(part, None, epilogue) for part in codes], epilogue)

    wanted = torch.cat([part.dequantize() for part in codes])
    assert torch.equal(parts.rows(torch.tensor([12, 0, 7, 8])), wanted[[12, 0, 7, 8]])


def test_only_bytes_around_128_with_a_scale_for_each_row_are_multiplied_in_integers():
    codes = torch.zeros(2, 32, dtype=torch.uint8)

    with pytest.raises(ValueError, match="int8_activations: 4 bits, zero = 8, group_size = 32"):
        QuantizedWeight(codes=codes, bits=4, zero=8, group_size=32, scales=torch.ones(2, 1), int8_activations=True)
    with pytest.raises(ValueError, match="group_size = 16"):
        QuantizedWeight(codes=codes, bits=8, zero=128, group_size=16, scales=torch.ones(2, 2), int8_activations=True)
