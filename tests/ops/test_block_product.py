"""Products of codes with x in 8 bits, a scale for each block of 32 columns: the definition's, in any company."""

import pytest
import torch
from isa_levels import native_levels
from kinds_of_codes import quantized_kinds, random

from weft.ops.linear import Epilogue, LinearCase, choose_linear
from weft.ops.linear.reference import BlockProduct
from weft.ops.quantized import QuantizedWeight

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
KINDS = {name: weight for name, weight in quantized_kinds() if weight.shape[1] % 32 == 0}
levels = pytest.mark.parametrize("isa", native_levels())
kinds = pytest.mark.parametrize("kind", KINDS)


def product(weight, isa, dtype, bias=None, **epilogue):
    case = LinearCase(device="cpu", dtype=dtype, in_features=weight.shape[1], out_features=weight.shape[0], isa=isa,
                      activation_dtype="int8", gated=epilogue.get("gated", False))
    return choose_linear(case).prepare(weight, bias, Epilogue(out_dtype=torch.float32, **epilogue))


@levels
@kinds
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("num_tokens", [1, 3, 7, 40])
def test_the_native_kernels_are_the_definition(isa, kind, dtype, num_tokens):
    weight = KINDS[kind]
    x = random(num_tokens, weight.shape[1], dtype=dtype, seed=1)
    x[:, 32:64] = 0                                                    # a block whose scale is 0
    bias = random(weight.shape[0], seed=2)

    out = product(weight, isa, dtype, bias)(x)

    exact = BlockProduct(weight, bias, Epilogue(out_dtype=torch.float32))(x)
    torch.testing.assert_close(out, exact, atol=2e-5 * exact.abs().max().item(), rtol=0)
    assert not torch.equal(exact, x.float() @ weight.dequantize(torch.float32).T + bias), "activations were rounded"


@levels
@kinds
def test_a_row_is_bitwise_the_same_alone_and_in_any_company(isa, kind):
    run = product(KINDS[kind], isa, torch.bfloat16)
    x = random(220, KINDS[kind].shape[1], dtype=torch.bfloat16, seed=1)
    together = run(x)

    for count in (1, 2, 3, 4, 5, 6, 9, 100):
        assert torch.equal(run(x[20 : 20 + count]), together[20 : 20 + count])


@levels
@kinds
def test_rows_of_a_table_are_those_of_the_weight(isa, kind):
    weight, ids = KINDS[kind], torch.tensor([0, 69, 64, 64, 31])

    torch.testing.assert_close(product(weight, isa, torch.float32).rows(ids), weight.dequantize(torch.float32)[ids])


@levels
@pytest.mark.parametrize("kind", ["4-bit-symmetric-32", "q4-k", "8-bit-rows"])
@pytest.mark.parametrize("fault", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_not_finite_makes_its_row_nan_and_no_other(isa, kind, fault):
    x = random(3, KINDS[kind].shape[1], seed=1)
    x[1, 70] = fault

    out = product(KINDS[kind], isa, torch.float32)(x)

    assert out[1].isnan().all()
    assert out[[0, 2]].isfinite().all()


@levels
def test_the_largest_codes_and_activations_do_not_overflow(isa):
    for bits in (4, 5, 6, 8):
        weight = QuantizedWeight(codes=torch.full((64, 256), 2**bits - 1, dtype=torch.uint8), bits=bits, zero=0,
                                 group_size=32, scales=torch.ones(64, 8), offsets=torch.zeros(64, 8))
        for sign in (1, -1):
            out = product(weight, isa, torch.float32)(torch.full((5, 256), 127.0 * sign))
            assert torch.equal(out, torch.full((5, 64), 127.0 * sign * 256 * (2**bits - 1)))


@levels
def test_columns_that_are_no_whole_blocks_are_multiplied_as_floats(isa):
    weight = QuantizedWeight(codes=torch.full((64, 48), 9, dtype=torch.uint8), bits=4, zero=8, group_size=16,
                             scales=torch.ones(64, 3))
    x = random(2, 48, seed=1)

    torch.testing.assert_close(product(weight, isa, torch.float32)(x), x @ weight.dequantize(torch.float32).T)
