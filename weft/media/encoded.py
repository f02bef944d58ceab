"""`EncodedImage`: an image file as clients send it, checked for its type; `LinkedImage`: one they name by URL.

The module fetches nothing and decodes nothing: `fetcher.py` and `decode.py` do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weft.errors import RequestError

# Media type -> Pillow's name of the format.
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/jpg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
_TYPES = "image/png, image/jpeg, image/webp or image/gif"
_WANTED = "a URL: https:, http:, or with the file itself, such as data:image/png;base64,iVBORw0…"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """An image file.

    field: its place in the request, for errors. media_type: a key of FORMATS; None: any of them, as of a fetched file,
    whose server's word counts for nothing. data: base64 text, or the file's bytes.
    """

    field: str
    media_type: str | None
    data: str | bytes

    @property
    def num_bytes(self) -> int:
        """Bytes of the file."""
        return len(self.data) * 3 // 4 if isinstance(self.data, str) else len(self.data)

    def describe(self) -> str:
        """The file in an error's text."""
        return f"{self.media_type or 'a file'}, {self.num_bytes} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedImage:
    """An image file that is still to be fetched. field: its place in the request. url: of http, https or file."""

    field: str
    url: str

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url[:5].lower() == "file:"


ImageFile = EncodedImage | LinkedImage


def encoded_image(field: str, media_type: Any, data: Any) -> EncodedImage:
    """An image file as base64 text. RequestError, which names `field`, for other types."""
    kind = media_type.lower() if isinstance(media_type, str) else media_type
    if not isinstance(kind, str) or kind not in FORMATS:
        raise RequestError(field, media_type, expected=_TYPES)
    if not isinstance(data, str):
        raise RequestError(field, data, expected="base64 text")
    return EncodedImage(field=field, media_type=kind, data=data)


def read_image_url(field: str, url: Any) -> ImageFile:
    """The image of a `data:` URL (RFC 2397) with base64, or one to be fetched. RequestError for other schemes."""
    if not isinstance(url, str):
        raise RequestError(field, url, expected=_WANTED)
    if url[:16].partition(":")[0].lower() in ("http", "https", "file"):
        return LinkedImage(field=field, url=url)
    head, comma, data = url.partition(",")
    kind, *parameters = head[5:].split(";")
    if head[:5].lower() != "data:" or not comma or not parameters or parameters[-1].lower() != "base64":
        raise RequestError(field, url, expected=_WANTED)
    return encoded_image(field, kind, data)
