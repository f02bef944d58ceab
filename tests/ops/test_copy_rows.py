"""Rows are copied bit for bit, between any strides of rows."""

import pytest
import torch
from isa_levels import native_levels

from weft.ops.copy_rows import CopyCase, choose_copy


@pytest.mark.parametrize("isa", ["reference", *native_levels()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "width"), [(0, 8), (1, 1), (3, 63), (2, 2049)])
def test_rows_are_copied_bit_for_bit_and_nothing_around_them_is_touched(isa, dtype, rows, width):
    x = torch.randn(rows, width + 3).to(dtype)[:, 1 : width + 1]
    if rows:
        x[0, 0], x[-1, -1] = -0.0, torch.inf
    around = torch.full((rows, width + 5), 7.0, dtype=dtype)

    choose_copy(CopyCase(device="cpu", dtype=dtype, isa=isa)).run(x, around[:, 2 : width + 2])

    bits = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(around[:, 2 : width + 2].contiguous().view(bits), x.contiguous().view(bits))
    assert (around[:, :2] == 7).all() and (around[:, width + 2 :] == 7).all()


@pytest.mark.parametrize("isa", ["reference", *native_levels()])
@pytest.mark.parametrize("out", [torch.zeros(3, 8), torch.zeros(2, 8).half(), torch.zeros(8, 2).t(),
                                 torch.zeros(2, 8, device="meta"), torch.zeros(16)],
                         ids=["shape", "dtype", "strides", "device", "dimensions"])
def test_memory_that_does_not_fit_is_refused(isa, out):
    with pytest.raises(ValueError, match="expected the same shape, dtype and device, and rows without gaps"):
        choose_copy(CopyCase(device="cpu", dtype=torch.float32, isa=isa)).run(torch.ones(2, 8), out)


@pytest.mark.parametrize("isa", ["reference", *native_levels()])
def test_nan_stays_nan(isa):
    x, out = torch.full((2, 5), torch.nan), torch.zeros(2, 5)

    choose_copy(CopyCase(device="cpu", dtype=torch.float32, isa=isa)).run(x, out)

    assert out.isnan().all()
