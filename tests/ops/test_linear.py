"""Every linear kernel computes what the definition says, and each row as if it were alone."""

import pytest
import torch
from isa_levels import native_levels
from kinds_of_codes import codes, quantized_kinds, random

from weft.ops.linear import Epilogue, LinearCase, choose_linear, empty_weight, onednn
from weft.ops.linear.reference import TorchProduct
from weft.ops.quantized import QuantizedWeight, quantize

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
# Of results of order one: float32 sums of up to 3000 products; else one rounding at the end.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
SHAPES = [(100, 130), (257, 300), (64, 64), (31, 2100), (1, 16)]
levels = pytest.mark.parametrize("isa", native_levels())
KINDS = dict(quantized_kinds())
floats = pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: str(d).removeprefix("torch."))


def native(weight, isa, dtype, bias=None, *, act=None, gated=False, out_dtype=None):
    case = LinearCase(device="cpu", dtype=dtype, in_features=weight.shape[1], out_features=weight.shape[0], isa=isa,
                      gated=gated)
    choice = choose_linear(case)
    assert choice.name == "native", str(choice)
    if isinstance(weight, torch.Tensor):
        home = empty_weight(case)
        home.copy_(weight)
        weight = home
    return choice.prepare(weight, bias, Epilogue(act=act, gated=gated, out_dtype=out_dtype or dtype))


def unfilled(*shape, dtype):
    return torch.full(shape, torch.nan, dtype=dtype)


@levels
@floats
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("num_tokens", [1, 5, 7, 33])
def test_dense_products_are_the_definitions(isa, dtype, shape, num_tokens):
    weight, x = (random(*shape) / shape[1] ** 0.5).to(dtype), random(num_tokens, shape[1], dtype=dtype, seed=1)
    bias = random(shape[0], dtype=dtype, seed=2)

    out = native(weight, isa, dtype, bias)(x, out=unfilled(num_tokens, shape[0], dtype=dtype))

    exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(out.double(), exact, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
@floats
@pytest.mark.parametrize("quantized", [False, "int8", "int4"])
def test_a_row_is_bitwise_the_same_alone_and_in_any_company(isa, dtype, quantized):
    weight = (random(200, 448) / 20).to(dtype)
    product = native(quantize(weight, quantized) if quantized else weight, isa, dtype)
    x = random(300, 448, dtype=dtype, seed=1)
    together = product(x)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(3))

    assert torch.equal(product(x[order]), together[order])
    for count in (1, 2, 3, 4, 5, 6, 7, 13, 100):
        assert torch.equal(product(x[20 : 20 + count]), together[20 : 20 + count])


@levels
@floats
@pytest.mark.parametrize("act", ["silu", "gelu", "gelu_new", "quick_gelu", "relu", "relu2", "tanh", "sigmoid"])
@pytest.mark.parametrize("gated", [False, True, "of 40"])
def test_activations_and_gates_follow_in_the_same_pass(isa, dtype, act, gated):
    rows, gated = (80, True) if gated == "of 40" else (192, gated)         # panels of 32 rows hold no halves of 40
    weight, x = (random(rows, 96) / 5).to(dtype), random(9, 96, dtype=dtype, seed=1)
    epilogue = Epilogue(act=act, gated=gated, out_dtype=torch.float64)

    out = native(weight, isa, dtype, act=act, gated=gated)(x)

    exact = TorchProduct(weight.double(), None, epilogue)(x.double())
    torch.testing.assert_close(out.double(), exact, atol=4 * TOLERANCE[dtype], rtol=4 * TOLERANCE[dtype])


@levels
@floats
def test_a_residual_is_added_to_in_place_and_scaled(isa, dtype):
    weight, x = (random(70, 64) / 8).to(dtype), random(11, 64, dtype=dtype, seed=1)
    residual = random(11, 70, dtype=dtype, seed=2)
    exact = residual.double() + 0.25 * (x.double() @ weight.double().T)

    out = native(weight, isa, dtype)(x, residual, alpha=0.25)

    assert out is residual
    torch.testing.assert_close(out.double(), exact, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
@floats
@pytest.mark.parametrize("quantized", [False, "int8", "int4"])
def test_rows_of_a_packed_table_are_its_rows(isa, dtype, quantized):
    weight = random(131, 160, dtype=dtype)
    ids = torch.tensor([0, 130, 64, 64, 31])
    if quantized:
        weight = quantize(weight, quantized)
    exact = (weight.dequantize(dtype) if quantized else weight)[ids]
    product = native(weight if quantized else weight.clone(), isa, dtype)

    torch.testing.assert_close(product.rows(ids), exact, atol=0, rtol=0)


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tokens", [1, 8])
def test_quantized_products_are_those_of_the_dequantized_matrix(isa, dtype, kind, num_tokens):
    weight = KINDS[kind]
    x = random(num_tokens, weight.shape[1], dtype=dtype, seed=5)

    out = native(weight, isa, dtype, out_dtype=torch.float32)(x)

    exact = x.double() @ weight.dequantize(torch.float64).T
    scale = exact.abs().max().item()
    torch.testing.assert_close(out.double(), exact, atol=3e-6 * scale, rtol=1e-5)   # codes are exact in bfloat16


@levels
@floats
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("num_tokens", [1, 3, 40])
def test_offsets_of_whole_rows_come_before_bias_and_gate(isa, dtype, bits, num_tokens):
    weight = QuantizedWeight(codes=codes(bits, 128, 96), bits=bits, zero=0, group_size=96,
                             scales=random(128, 1) / 2**bits, offsets=random(128, 1, seed=1) / 4)
    x, bias = random(num_tokens, 96, dtype=dtype, seed=5), random(128, seed=2)

    out = native(weight, isa, dtype, bias, act="silu", gated=True, out_dtype=torch.float32)(x)

    gate, up = (x.double() @ weight.dequantize(torch.float64).T + bias.double()).chunk(2, dim=1)
    exact = torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(out.double(), exact, atol=1e-5 * exact.abs().max().item(), rtol=1e-5)


@pytest.mark.parametrize("method, bound", [("int8", 0.008), ("int4", 0.11)])
def test_quantizing_changes_a_matrix_by_no_more_than_its_steps(method, bound):
    weight = random(50, 256)

    error = (quantize(weight, method).dequantize() - weight).norm() / weight.norm()

    assert 0 < error < bound


def test_a_matrix_of_zeros_stays_zero_when_quantized():
    assert all(quantize(torch.zeros(3, 64), method).dequantize().eq(0).all() for method in ("int8", "int4"))


@pytest.mark.parametrize("case, reason", [
    ({"in_features": 7}, "7 columns: not even"),
    ({"dtype": torch.float64}, "torch.float64"),
    ({"device": "meta"}, "for CPUs"),
    ({"isa": "reference"}, "cpu_isa is reference"),
    ({"in_features": 56, "quantization": "int4"}, ""),
    ({"in_features": 50, "quantization": "int4"}, "50 columns: not a multiple of 8"),
], ids=str)
@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
def test_what_the_native_kernel_cannot_do_it_refuses_with_the_reason(case, reason):
    base = {"device": "cpu", "dtype": torch.bfloat16, "in_features": 64, "out_features": 64, "isa": "portable"}

    choice = choose_linear(LinearCase(**(base | case)))

    assert dict(choice.refused).get("native", "") == reason


@levels
def test_another_dtype_or_width_of_x_is_an_error_that_names_both(isa):
    product = native(random(64, 64), isa, torch.float32)

    with pytest.raises(ValueError, match=r"x is torch.bfloat16 \[2, 64\], the weight takes torch.float32 \[T, 64\]"):
        product(random(2, 64, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match=r"\[2, 66\]"):
        product(random(2, 66))


@levels
def test_rows_and_columns_apart_in_memory_are_read_where_they_are(isa):
    weight, wide = random(64, 32), random(6, 80)
    product = native(weight.clone(), isa, torch.float32)

    torch.testing.assert_close(product(wide[:, 8:40]), wide[:, 8:40] @ weight.T)
    torch.testing.assert_close(product(wide.T[:32].T), wide[:, :32] @ weight.T)


@pytest.mark.skipif(not onednn.is_available(), reason="no oneDNN bfloat16 products here")
@pytest.mark.parametrize("num_tokens", [1, 2, 33, 130])
def test_onednn_gives_torchs_products(num_tokens):
    x, weight, bias = random(num_tokens, 70).bfloat16(), random(130, 70).bfloat16(), random(130, seed=1).bfloat16()

    out = onednn.OneDNNProduct(weight, bias, Epilogue(out_dtype=torch.bfloat16))(x)

    exact = torch.nn.functional.linear(x.float(), weight.float(), bias.float())
    torch.testing.assert_close(out.float(), exact, atol=2**-3, rtol=2**-7)  # one rounding of values up to 40


def test_without_native_kernels_a_table_that_is_read_by_rows_is_torchs():
    case = LinearCase(device="cpu", dtype=torch.bfloat16, in_features=8, out_features=8, is_table=True)

    assert str(choose_linear(case)) == ("torch (native: cpu_isa is reference; "
                                        "onednn: the embedding reads the same table)")
