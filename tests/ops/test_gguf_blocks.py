"""GGUF's quantized blocks give the numbers that the gguf package gives; affine ones are exact as integer codes."""

import gguf
import numpy as np
import pytest
import torch
from gguf_blocks import KINDS, random_rows

from weft.errors import NotBuiltError
from weft.ops.quantized import gguf as blocks

SHAPE = (3, 5, 512)
BY_PACKAGE = ("IQ2_XXS", "IQ3_S", "IQ1_M", "TQ2_0", "MXFP4")


def expected(kind: str, raw: torch.Tensor) -> torch.Tensor:
    numbers = gguf.quants.dequantize(raw.numpy(), gguf.GGMLQuantizationType[kind])
    return torch.from_numpy(numbers).view(SHAPE)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_the_gguf_package(kind):
    raw = random_rows(kind, SHAPE)

    assert torch.equal(blocks.dequantize(kind, raw, SHAPE), expected(kind, raw))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if blocks.is_affine(kind)])
def test_affine_formats_are_exact_as_codes_and_scales(kind):
    raw = random_rows(kind, SHAPE)

    weight = blocks.to_quantized(kind, raw, SHAPE)

    assert weight.shape == (15, 512)
    assert torch.equal(weight.dequantize().view(SHAPE), expected(kind, raw))
    assert int(weight.codes.max()) < 2 ** weight.bits


@pytest.mark.parametrize("kind, bits, group_size, has_super_scales, has_offsets", [
    ("Q4_0", 4, 32, False, False), ("Q8_0", 8, 32, False, False), ("Q4_K", 4, 32, True, True),
    ("Q5_K", 5, 32, True, True), ("Q6_K", 6, 16, True, False),
])
def test_codes_keep_the_groups_and_the_two_levels_of_their_format(kind, bits, group_size, has_super_scales,
                                                                  has_offsets):
    weight = blocks.to_quantized(kind, random_rows(kind, SHAPE), SHAPE)

    assert (weight.bits, weight.group_size) == (bits, group_size)
    assert (weight.super_scales is not None) == has_super_scales
    assert (weight.offsets is not None) == has_offsets
    if has_super_scales:
        assert weight.super_scales.shape == (15, 2)         # one for each 256 numbers
        assert not weight.scales.is_floating_point()


def test_numbers_are_rounded_once_to_the_dtype_asked_for():
    raw = random_rows("Q6_K", SHAPE)

    found = blocks.dequantize("Q6_K", raw, SHAPE, torch.bfloat16)

    assert torch.equal(found, expected("Q6_K", raw).bfloat16())


def test_many_rows_are_done_in_pieces_and_give_the_same(monkeypatch):
    raw = random_rows("Q4_K", SHAPE)
    monkeypatch.setattr(blocks, "_PIECE", 1024)

    threads = torch.get_num_threads()

    assert torch.equal(blocks.dequantize("Q4_K", raw, SHAPE), expected("Q4_K", raw))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("kind", BY_PACKAGE)
def test_formats_with_code_books_are_read_by_the_gguf_package(kind):
    block, num_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    random = np.random.default_rng(1)
    raw = torch.from_numpy(random.integers(0, 100, (15, 512 // block * num_bytes), dtype=np.uint8))

    assert torch.equal(blocks.dequantize(kind, raw, SHAPE), expected(kind, raw))


def test_a_format_that_nobody_reads_is_an_error_that_names_it():
    with pytest.raises(NotBuiltError, match=r"tensor type = 'Q8_K'.*expected one of Q4_0"):
        blocks.dequantize("Q8_K", torch.zeros(1, 292, dtype=torch.uint8), (1, 256))


def test_only_affine_formats_have_codes():
    with pytest.raises(ValueError, match=r"IQ4_NL has no affine codes"):
        blocks.to_quantized("IQ4_NL", torch.zeros(1, 18, dtype=torch.uint8), (1, 32))


def test_no_rows_are_no_numbers():
    assert blocks.dequantize("Q4_0", torch.zeros(0, 18, dtype=torch.uint8), (0, 32)).shape == (0, 32)
