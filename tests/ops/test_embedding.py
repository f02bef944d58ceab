"""Rows of a token table: whatever the kernel, the same bits."""

import pytest
import torch
from isa_levels import native_levels

from weft.ops.embedding import EmbeddingCase, choose_embedding
from weft.ops.linear import Epilogue, LinearCase, choose_linear, empty_weight

levels = pytest.mark.parametrize("isa", native_levels())
floats = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16],
                                 ids=lambda d: str(d).removeprefix("torch."))
IDS = torch.tensor([3, 0, 40, 3, 12, 7, 8])


def table(dtype, *, rows=41, columns=70):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).to(dtype)


def rows_of(source, isa, dtype, scale):
    choice = choose_embedding(EmbeddingCase(device="cpu", dtype=dtype, isa=isa))
    assert (choice.name == "native") == (isa != "reference"), str(choice)
    return choice.prepare(source, scale)


def packed(dtype, isa, *, quantization=None, columns=70):
    case = LinearCase(device="cpu", dtype=dtype, in_features=columns, out_features=41, isa=isa, is_table=True,
                      quantization=quantization)
    weight = empty_weight(case)
    weight.copy_(table(dtype, columns=columns))
    return choose_linear(case).prepare(weight, None, Epilogue(out_dtype=torch.float32))


@levels
@floats
@pytest.mark.parametrize("scale", [1.0, 8.37])
def test_rows_of_a_plain_table_are_the_definitions(isa, dtype, scale):
    source = table(dtype, columns=140)[:, 30:101]  # rows with a stride, of an odd length

    out = rows_of(source, isa, dtype, scale)(IDS)

    assert torch.equal(out, source[IDS] * torch.tensor(scale, dtype=dtype))
    assert torch.equal(out, rows_of(source, "reference", dtype, scale)(IDS))


@levels
@floats
@pytest.mark.parametrize("scale", [1.0, 8.37])
def test_rows_of_a_packed_table_are_those_it_was_packed_from(isa, dtype, scale):
    out = rows_of(packed(dtype, isa), isa, dtype, scale)(IDS)

    assert torch.equal(out, table(dtype)[IDS] * torch.tensor(scale, dtype=dtype))


@levels
@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_rows_of_a_quantized_table_are_rounded_and_then_scaled(isa, quantization):
    product = packed(torch.bfloat16, isa, quantization=quantization, columns=96)

    out = rows_of(product, isa, torch.bfloat16, 8.37)(IDS)

    assert torch.equal(out, product.rows(IDS) * torch.tensor(8.37, dtype=torch.bfloat16))


@pytest.mark.parametrize("isa", ["reference", *native_levels()])
@pytest.mark.parametrize("wrong", [-1, 41])
def test_an_id_that_is_no_row_is_an_index_error(isa, wrong):
    with pytest.raises(IndexError):
        rows_of(table(torch.float32), isa, torch.float32, 1.0)(torch.tensor([0, wrong]))


@levels
def test_an_id_beyond_a_packed_table_is_named(isa):
    with pytest.raises(IndexError, match=r"ids\[1\] = 41: expected below 41"):
        rows_of(packed(torch.float32, isa), isa, torch.float32, 1.0)(torch.tensor([0, 41]))


@pytest.mark.parametrize("isa", native_levels())
def test_a_table_of_another_dtype_is_refused_when_it_is_prepared(isa):
    with pytest.raises(ValueError, match=r"torch.float32.*expected rows of torch.bfloat16"):
        rows_of(table(torch.float32), isa, torch.bfloat16, 1.0)
