"""`decoding`: the work of the process that decodes image files (`decoder.py`): one file at a time, under limits of
pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import msgspec

from weft.media.encoded import FORMATS
from weft.media.images import read_image


class FileToDecode(msgspec.Struct):
    """media_type: a key of FORMATS; None: any. max_pixels: of an image; the files of a prompt have at most twice as
    many. num_pixels: of the prompt's files before this one.
    """

    media_type: str | None
    data: bytes
    max_pixels: int
    num_pixels: int


class DecodedFile(msgspec.Struct):
    """data: [height, width, 3] bytes of an image that stands upright; or, of a file that cannot be taken, what an error
    says: expected, with value and hint, which may be empty.
    """

    width: int = 0
    height: int = 0
    data: memoryview = memoryview(b"")
    expected: str = ""
    value: str = ""
    hint: str = ""


def decoding(_: bytes) -> Callable[[bytes], bytes]:
    """From a FileToDecode to its DecodedFile, both in msgpack."""
    from PIL import Image

    Image.init()                     # all of Pillow's modules, before memory is limited
    Image.MAX_IMAGE_PIXELS = None    # decode_file has its own limit
    return lambda body: msgspec.msgpack.encode(decode_file(msgspec.msgpack.decode(body, type=FileToDecode)))


def decode_file(file: FileToDecode) -> DecodedFile:
    """The pixels of a file. Its header is checked before a pixel is decoded."""
    from PIL import Image, ImageOps

    try:
        image: Any = Image.open(BytesIO(file.data), formats=sorted(set(FORMATS.values())))
    except Exception:      # Pillow raises many kinds of errors
        return _broken(file)
    wanted = FORMATS.get(file.media_type or "")
    kind = "JPEG" if image.format == "MPO" else image.format      # MPO: a JPEG file with further pictures behind it
    if wanted is not None and kind != wanted:
        return DecodedFile(expected=f"a {wanted} file, as its media type says", hint=f"The file is {kind}.")
    num_pixels = image.width * image.height
    if num_pixels > file.max_pixels or file.num_pixels + num_pixels > 2 * file.max_pixels:
        return _too_large(f"{image.width} x {image.height} pixels", file.max_pixels)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        del image                    # its pixels, where `upright` has others
        pixels = read_image(upright, field="image", max_pixels=file.max_pixels)
    except MemoryError:
        raise                        # ends the process, which says so
    except Exception:
        return _broken(file)
    return DecodedFile(width=pixels.width, height=pixels.height, data=memoryview(pixels.tobytes()))


def _broken(file: FileToDecode) -> DecodedFile:
    wanted = " or ".join(sorted(set(FORMATS.values()))) if file.media_type is None else FORMATS[file.media_type]
    return DecodedFile(expected=f"a whole {wanted} file")


def _too_large(size: str, max_pixels: int) -> DecodedFile:
    return DecodedFile(value=size,
                       expected=f"at most {max_pixels} pixels, and {2 * max_pixels} of all images of a prompt")
