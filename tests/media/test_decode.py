"""Image files are decoded in a process of their own, under limits, and a hostile file can end that process only."""

import base64
import io
import os
import signal
import struct
import sys
import zlib

import psutil
import pytest
from PIL import Image
from waiting import until

from weft.errors import NotBuiltError, RequestError, WeftError
from weft.media import decoder
from weft.media.decode import FileToDecode, decode_file
from weft.media.decoder import Decoder
from weft.media.encoded import EncodedImage, encoded_image


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(field, width, height):
    return encoded_image(field, "image/png", base64.b64encode(file_of(Image.new("L", (width, height)))).decode())


def zeros_png(width, height, channels=4):
    """A whole PNG file of zeros in 8 bits, small whatever its size."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer, row = zlib.compressobj(1), bytes(1 + width * channels)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    kind = {1: 0, 3: 2, 4: 6}[channels]
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
            + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def decoder_of(**limits):
    return Decoder(**{"max_file_bytes": 1 << 20, "max_pixels": 64 << 20} | limits)


@pytest.fixture
def files():
    made = decoder_of()
    yield made
    made.close()


def test_pixels_are_those_of_the_file_upright_and_on_white(files):
    turned = Image.linear_gradient("L").resize((6, 4)).convert("RGB")
    exif = turned.getexif()
    exif[0x0112] = 6                                       # orientation: turn by 90 degrees clockwise
    data = [file_of(turned, exif=exif), file_of(Image.new("RGBA", (2, 3), (10, 20, 30, 0)))]

    first, second = files.decoded([EncodedImage(field="a", media_type=None, data=one) for one in data])

    assert first.tobytes() == turned.rotate(-90, expand=True).tobytes()
    assert (second.size, set(second.get_flattened_data())) == ((2, 3), {(255, 255, 255)})


def test_values_that_are_no_files_stay_as_they_are_and_need_no_process(files):
    mine = Image.new("L", (3, 4))

    assert next(files.decoded([mine])) is mine
    assert files.pid is None


def test_all_files_of_a_prompt_share_a_limit_of_pixels_and_no_pixel_beyond_it_is_decoded(monkeypatch):
    data = file_of(Image.new("L", (10, 10)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a pixel was decoded"))

    refused = decode_file(FileToDecode("image/png", data, max_pixels=100, num_pixels=101))

    assert (refused.value, refused.expected[:18]) == ("10 x 10 pixels", "at most 100 pixels")


def test_the_pixels_of_earlier_files_count(files, monkeypatch):
    asked = []

    def noted(**given):
        asked.append(given["num_pixels"])
        return FileToDecode(**given)

    monkeypatch.setattr(decoder, "FileToDecode", noted)

    assert len(list(files.decoded([png("a", 10, 10), Image.new("L", (9, 9)), png("b", 5, 5), png("c", 1, 1)]))) == 4
    assert asked == [0, 100, 125]


def test_a_file_is_bounded_before_its_text_is_read(files):
    with pytest.raises(RequestError, match=r"^a = '1048578 bytes': expected a file of at most 1048576 bytes"):
        next(files.decoded([encoded_image("a", "image/png", "A" * ((1 << 20) * 4 // 3 + 4))]))
    assert files.pid is None


def test_the_limit_of_pixels_is_the_operators():
    files = decoder_of(max_pixels=100)

    assert next(files.decoded([png("a", 10, 10)])).size == (10, 10)
    for images in ([png("a", 10, 11)], [png("b", 10, 10)] * 2 + [png("a", 1, 1)], [EncodedImage(
            field="a", media_type=None, data=zeros_png(20_000, 10_000, 1))]):
        with pytest.raises(RequestError, match=r"^a = '[0-9]+ x [0-9]+ pixels': expected at most 100 pixels, and 200"):
            list(files.decoded(images))
    files.close()


def test_without_pillow_the_error_names_the_extra(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(NotBuiltError, match=r'^a = .*pip install "weft\[vision\]"'):
        list(files.decoded([EncodedImage(field="a", media_type="image/png", data="AAAA")]))


def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_one_is_read():
    files = decoder_of(max_bytes=64 << 20)

    with pytest.raises(RequestError, match=r"^a = .*too much memory"):
        list(files.decoded([EncodedImage(field="a", media_type=None, data=zeros_png(7000, 7000))]))
    assert next(files.decoded([png("b", 5, 6)])).size == (5, 6)
    files.close()


def test_a_file_that_takes_too_long_is_refused_and_the_next_one_is_read():
    files = decoder_of(seconds=0.5)
    assert next(files.decoded([png("b", 5, 6)])).size == (5, 6)
    pid = files.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    with pytest.raises(RequestError, match=r"^a = .*more than 0.5 s"):
        next(files.decoded([png("a", 5, 6)]))

    assert not psutil.pid_exists(pid)
    assert next(files.decoded([png("b", 5, 6)])).size == (5, 6)
    files.close()


def test_a_process_that_ended_by_itself_costs_the_next_file_nothing(files):
    next(files.decoded([png("b", 5, 6)]))
    pid = files.pid
    assert pid is not None
    os.kill(pid, signal.SIGSEGV)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)

    assert next(files.decoded([png("b", 5, 6)])).size == (5, 6)
    assert not psutil.pid_exists(pid)


def test_no_process_is_left_behind():
    files = decoder_of()
    next(files.decoded([png("b", 5, 6)]))
    pid = files.pid
    assert pid is not None and psutil.pid_exists(pid)

    files.close()

    until(lambda: not psutil.pid_exists(pid))
    with pytest.raises(WeftError, match="closed"):
        next(files.decoded([png("b", 5, 6)]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_files_with_wrong_bytes_are_images_or_one_error(files, kind):
    whole = file_of(Image.linear_gradient("L").convert("RGB").resize((40, 30)), kind)
    for i in range(0, len(whole), max(1, len(whole) // 40)):
        data = whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1:]
        try:
            found = next(files.decoded([EncodedImage(field="a", media_type=None, data=data)]))
        except RequestError as error:
            assert error.field == "a"
        else:
            assert found.mode == "RGB"
