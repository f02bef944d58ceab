"""Image files of a prompt are checked by their headers, together, before a pixel is decoded."""

import base64
import io
import sys

import pytest
from PIL import Image

from weft.errors import NotBuiltError, RequestError
from weft.media import decode
from weft.media.encoded import MAX_FILE_BYTES, EncodedImage, encoded_image


def png(field, width, height):
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return encoded_image(field, "image/png", base64.b64encode(file.getvalue()).decode())


def test_all_images_of_a_prompt_share_a_limit_of_pixels_and_the_first_beyond_it_is_named(monkeypatch):
    monkeypatch.setattr(decode, "MAX_ALL_PIXELS", 250)
    images = [png("a", 10, 10), Image.new("L", (90, 90)), png("b", 10, 10), png("c", 10, 10)]
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a pixel was decoded"))

    with pytest.raises(RequestError, match=r"^c = '10 x 10 pixels': expected at most"):
        decode.decoded(images)


def test_values_that_are_no_files_stay_as_they_are():
    mine = Image.new("L", (3, 4))

    first, second = decode.decoded([mine, png("a", 5, 6)])

    assert first is mine
    assert second.size == (5, 6)


def test_a_file_is_bounded_before_its_text_is_read():
    with pytest.raises(RequestError, match=f"^a = '[0-9]+ bytes': expected a file of at most {MAX_FILE_BYTES} bytes"):
        encoded_image("a", "image/png", "A" * (MAX_FILE_BYTES * 4 // 3 + 8))


def test_without_pillow_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(NotBuiltError, match=r'^a = .*pip install "weft\[vision\]"'):
        decode.decoded([EncodedImage(field="a", media_type="image/png", data="AAAA")])
