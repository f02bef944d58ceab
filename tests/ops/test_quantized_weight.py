"""A quantized matrix is codes, scales and offsets; its fields have to agree."""

import pytest
import torch

from weft.ops.quantized import QuantizedWeight


def test_symmetric_codes_are_scaled_about_their_zero():
    weight = QuantizedWeight(codes=torch.tensor([[8, 9, 0, 15]], dtype=torch.uint8), bits=4, zero=8, group_size=2,
                             scales=torch.tensor([[0.5, 2.0]]))

    assert weight.dequantize().tolist() == [[0.0, 0.5, -16.0, 14.0]]


def test_offsets_are_added_for_each_group():
    weight = QuantizedWeight(codes=torch.tensor([[1, 2]], dtype=torch.uint8), bits=4, zero=0, group_size=1,
                             scales=torch.tensor([[1.0, 10.0]]), offsets=torch.tensor([[-3.0, 0.25]]))

    assert weight.dequantize().tolist() == [[-2.0, 20.25]]


def test_integer_scales_are_multiplied_by_their_super_scales():
    weight = QuantizedWeight(
        codes=torch.tensor([[1, 1, 1, 1]], dtype=torch.uint8), bits=5, zero=0, group_size=1,
        scales=torch.tensor([[1, 2, 3, 4]], dtype=torch.uint8), super_scales=torch.tensor([[0.5, 2.0]]),
        offsets=torch.tensor([[1, 1, 1, 1]], dtype=torch.uint8), super_offsets=torch.tensor([[-1.0, -2.0]]))

    assert weight.dequantize().tolist() == [[-0.5, 0.0, 4.0, 6.0]]


@pytest.mark.parametrize("change, message", [
    ({"codes": torch.zeros(2, 4)}, "expected uint8"),
    ({"bits": 3}, "bits = 3"),
    ({"zero": 16}, "zero = 16"),
    ({"group_size": 3}, "does not divide 4"),
    ({"scales": torch.zeros(2, 1)}, r"scales: \[2, 1\], expected \[2, 2\]"),
    ({"scales": torch.zeros(2, 2, dtype=torch.int8)}, "integers with super_scales"),
    ({"super_scales": torch.zeros(2, 1)}, "scales: torch.float32"),
], ids=lambda value: value if isinstance(value, str) else next(iter(value)))
def test_fields_that_disagree_are_refused(change, message):
    fields = {"codes": torch.zeros(2, 4, dtype=torch.uint8), "bits": 4, "zero": 8, "group_size": 2,
              "scales": torch.ones(2, 2)}

    with pytest.raises(ValueError, match=message):
        QuantizedWeight(**(fields | change))
