"""Numbers as bytes: every type rounds as torch does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from weft.server.errors import ApiError
from weft.server.pooling.answer import json_pieces
from weft.server.pooling.numbers import NumberFormat, as_type

TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "fp8_e4m3": torch.float8_e4m3fn,
         "fp8_e5m2": torch.float8_e5m2}


def samples() -> torch.Tensor:
    """Numbers of all sizes, every number of 8 bits, and the middles between two of them."""
    random = torch.Generator().manual_seed(0)
    found = [torch.randn(2000, generator=random) * scale for scale in (1e-6, 1e-3, 1, 100, 1e5)]
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        numbers = torch.arange(256, dtype=torch.uint8).view(dtype).float()
        numbers = numbers[numbers.isfinite()].sort().values
        found += [numbers, (numbers[1:] + numbers[:-1]) / 2]
    return torch.cat([*found, torch.tensor([float("inf"), float("-inf"), 0.0, -0.0, 463, 465, 61439, 61440])])


@pytest.mark.parametrize("name", TYPES)
def test_a_type_rounds_as_torch_does(name):
    wanted = samples().to(TYPES[name])

    found = as_type(samples().numpy(), name)

    assert found.tobytes() == wanted.view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("name", TYPES)
def test_no_number_stays_none(name):
    found = as_type(np.array([np.nan], np.float32), name)

    assert torch.from_numpy(found.copy()).view(TYPES[name]).float().isnan().all()


def test_json_has_one_type_of_numbers():
    with pytest.raises(ApiError, match="embed_dtype"):
        NumberFormat("float", "bfloat16")
    with pytest.raises(ApiError, match="endianness"):
        NumberFormat("float", endianness="big")


def test_rows_are_written_one_by_one_and_read_as_one_object():
    rows = [[1.0, 2.5], [3.0, -4.0]]
    items = [{"index": 0}, json_pieces({"index": 1}, "data", iter(rows), {}), json_pieces({"n": 2}, "data", (), {})]

    written = b"".join(json_pieces({"id": "a"}, "data", items, {"usage": 3}))

    assert json.loads(written) == {"id": "a", "usage": 3, "data": [
        {"index": 0}, {"index": 1, "data": rows}, {"n": 2, "data": []}]}
