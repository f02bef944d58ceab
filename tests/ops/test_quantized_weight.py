"""A quantized matrix is codes, scales and offsets; its fields have to agree."""

import pytest
import torch

from weft.ops.quantized import QuantizedWeight, quantize


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


# Columns


def grouped(*, group_size, columns=96, offsets=False, super_size=None, bits=4):
    """A random matrix of 5 rows."""
    random = torch.Generator().manual_seed(group_size)
    shape = (5, columns // group_size)

    def numbers():
        if super_size is None:
            return torch.rand(shape, generator=random).half()
        return torch.randint(1, 60, shape, generator=random, dtype=torch.uint8)

    supers = None if super_size is None else torch.rand(5, columns // super_size, generator=random).half()
    return QuantizedWeight(
        codes=torch.randint(0, 2**bits, (5, columns), generator=random, dtype=torch.uint8), bits=bits,
        zero=0 if offsets else 2 ** (bits - 1), group_size=group_size, scales=numbers(),
        offsets=numbers() if offsets else None, super_scales=supers, super_offsets=supers if offsets else None)


CUTS = {
    "between groups": (grouped(group_size=16), 32, 64, 16),
    "one group": (grouped(group_size=16), 16, 32, 16),
    "within groups": (grouped(group_size=32), 16, 64, 16),
    "within one group": (grouped(group_size=32), 40, 56, 16),
    "odd": (grouped(group_size=32), 31, 65, 1),
    "a scale for each row": (grouped(group_size=96, bits=8), 48, 96, 48),
    "offsets": (grouped(group_size=32, offsets=True), 0, 48, 16),
    "between super groups": (grouped(group_size=16, super_size=48, offsets=True), 48, 96, 16),
    "within super groups": (grouped(group_size=16, super_size=48), 32, 96, 16),
    "within groups of super groups": (grouped(group_size=16, super_size=48, offsets=True), 40, 96, 8),
    "within one super group": (grouped(group_size=16, super_size=96), 16, 48, 16),
    "all": (grouped(group_size=16, super_size=48), 0, 96, 16),
}


@pytest.mark.parametrize("cut", CUTS)
def test_columns_are_exact_wherever_they_are_cut(cut):
    weight, start, stop, group_size = CUTS[cut]

    part = weight.columns(start, stop)

    assert part.group_size == group_size
    assert torch.equal(part.dequantize(), weight.dequantize()[:, start:stop])


def test_columns_of_an_integer_matrix_are_one():
    weight = quantize(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)), "w8a8")

    part = weight.columns(8, 32)

    assert part.int8_activations
    assert torch.equal(part.dequantize(), weight.dequantize()[:, 8:])
