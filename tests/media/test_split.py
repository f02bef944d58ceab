"""Tensors of several images are taken apart where each image's part can be told, else they stay one item."""

import torch

from weft.media.item import content_digest, spans_of
from weft.media.split import split_items


def split(places, counts, tensors, num, uuids=None):
    return split_items("image", places, counts, tensors, num=num, uuids=uuids or [None] * num, content="")


def test_a_tensor_with_an_entry_for_each_image_is_split():
    pixels = torch.arange(2 * 3.0).view(2, 3)

    one, two = split([1, 2, 5, 6], None, {"pixel_values": pixels}, 2)

    assert (one.spans, two.spans) == (((1, 3),), ((5, 7),))
    assert torch.equal(two.tensors["pixel_values"], pixels[1:])
    assert one.digest != two.digest


def test_patches_are_split_by_the_rows_that_they_become():
    pixels, grid = torch.randn(12, 4), torch.tensor([[1, 2, 2], [1, 2, 4]])

    one, two = split([0, 3, 4], [1, 2], {"pixel_values": pixels, "grid": grid}, 2)

    assert [len(each.tensors["pixel_values"]) for each in (one, two)] == [4, 8]
    assert torch.equal(two.tensors["grid"], grid[1:])


def test_what_cannot_be_told_apart_is_one_item():
    (both,) = split([0, 1, 2, 3], [2, 2], {"pixel_values": torch.zeros(1, 5, 2)}, 2)
    (unknown,) = split([0, 1, 2, 3], None, {"pixel_values": torch.zeros(2, 5)}, 2)       # one run for two images

    assert both.spans == unknown.spans == ((0, 4),)


def test_equal_images_have_equal_digests_wherever_they_are():
    pixels = torch.ones(2, 3)

    one, two = split([1, 2, 5, 6], None, {"pixel_values": pixels}, 2)

    assert one.digest == two.digest != content_digest("image", {"pixel_values": pixels})


def test_a_name_decides_in_place_of_the_content():
    first = split([0], [1], {"x": torch.zeros(1)}, 1, ["cat"])[0].digest

    assert split([0], [1], {"x": torch.ones(1)}, 1, ["cat"])[0].digest == first
    assert split([0], [1], {"x": torch.zeros(1)}, 1, ["dog"])[0].digest != first


def test_spans_are_runs_of_places():
    assert spans_of([1, 2, 3, 7, 9, 10]) == ((1, 4), (7, 8), (9, 11))
    assert spans_of([]) == ()
