"""`decoded`: image files as PIL images, under limits of pixels.

The headers of all files of a prompt are checked before a pixel of one is decoded.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from weft.errors import RequestError
from weft.media.encoded import FORMATS, EncodedImage
from weft.media.images import MAX_PIXELS, pillow

MAX_ALL_PIXELS = 128 << 20           # of all images of a prompt that come as files


def decoded(values: Sequence[Any]) -> Iterator[Any]:
    """`values` one by one, each EncodedImage as a PIL image that stands upright; other values as they are.

    RequestError names the field of a file that is broken, of another type than it says, or has too many pixels, alone
    or with those before. The headers are checked at the call, the rest when the image is asked for.
    """
    opened = [_opened(value) if isinstance(value, EncodedImage) else value for value in values]
    num_pixels = 0
    for value, image in zip(values, opened, strict=True):
        if isinstance(value, EncodedImage):
            num_pixels += image.width * image.height
            if image.width * image.height > MAX_PIXELS or num_pixels > MAX_ALL_PIXELS:
                raise _too_large(value, f"{image.width} x {image.height} pixels")
    return _loaded(values, opened)


def _loaded(values: Sequence[Any], opened: list[Any]) -> Iterator[Any]:
    for i, value in enumerate(values):
        image, opened[i] = opened[i], None                 # its pixels are held no longer than the caller holds them
        if isinstance(value, EncodedImage):
            from PIL import ImageOps

            try:
                image.load()
                image = ImageOps.exif_transpose(image)
            except Exception as error:      # Pillow raises many kinds of errors
                raise _broken(value) from error
        yield image


def _opened(image: EncodedImage) -> Any:
    """The PIL image, of which only the header is read."""
    image_module, wanted = pillow(image.field), FORMATS.get(image.media_type or "")
    try:
        data = b64decode(image.data, validate=True) if isinstance(image.data, str) else image.data
    except ValueError as error:
        raise RequestError(image.field, image.describe(), expected="base64 text, with padding and no spaces") from error
    try:
        found = image_module.open(BytesIO(data), formats=sorted(set(FORMATS.values())))
    except (image_module.DecompressionBombError, image_module.DecompressionBombWarning) as error:
        raise _too_large(image, "too many pixels") from error
    except Exception as error:
        raise _broken(image) from error
    kind = "JPEG" if found.format == "MPO" else found.format      # MPO: a JPEG file with further pictures behind it
    if wanted is not None and kind != wanted:
        raise RequestError(image.field, image.describe(), expected=f"a {wanted} file, as its media type says",
                           hint=f"The file is {kind}.")
    if found.width < 1 or found.height < 1:
        raise _broken(image)
    return found


def _broken(image: EncodedImage) -> RequestError:
    wanted = " or ".join(sorted(set(FORMATS.values()))) if image.media_type is None else FORMATS[image.media_type]
    return RequestError(image.field, image.describe(), expected=f"a whole {wanted} file")


def _too_large(image: EncodedImage, size: str) -> RequestError:
    return RequestError(image.field, size, expected=f"at most {MAX_PIXELS} pixels, and {MAX_ALL_PIXELS} of all images "
                        "of a prompt")
