"""Settings of a processor stay within the limits of an image, so that no prompt takes all memory."""

import math
from types import SimpleNamespace

import pytest

from weft.errors import RequestError
from weft.media.processor_sizes import check_sizes

SIDES = SimpleNamespace(size={"shortest_edge": 224}, crop_size=SimpleNamespace(height=224, width=224))
PIXELS = SimpleNamespace(size={"shortest_edge": 3136, "longest_edge": 12845056}, max_pixels=12845056)


@pytest.mark.parametrize(("given", "own", "name"), [
    ({"size": {"height": 100_000, "width": 100_000}}, SIDES, r"size\.height"),
    ({"size": {"shortest_edge": 1_000_000}}, SIDES, r"size\.shortest_edge"),
    ({"images_kwargs": {"crop_size": 10_000}}, SIDES, r"images_kwargs\.crop_size"),
    ({"size": [8, 9000]}, SIDES, r"size\.1"),
    ({"size": {"longest_edge": 1 << 30}}, PIXELS, r"size\.longest_edge"),
    ({"max_pixels": math.inf}, PIXELS, "max_pixels"),
    ({"max_patches": 1_000_000}, SIDES, "max_patches"),
])
def test_a_number_above_its_limit_is_refused_by_its_name(given, own, name):
    with pytest.raises(RequestError, match=rf"mm_processor_kwargs\.{name} = .*expected at most \d"):
        check_sizes(given, own, 64 << 20)


def test_usual_settings_pass():
    check_sizes({"do_resize": False, "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336},
                 "image_mean": [0.5, 0.5, 0.5], "resample": 3, "rescale_factor": 1 / 255, "padding": "longest"},
                SIDES, 64 << 20)
    check_sizes({"min_pixels": 3136, "max_pixels": 1003520, "size": {"longest_edge": 1003520}}, PIXELS, 64 << 20)


def test_an_area_is_limited_as_images_are():
    with pytest.raises(RequestError, match="max_pixels = 1003520: expected at most 1000000"):
        check_sizes({"max_pixels": 1003520}, PIXELS, 1_000_000)
