"""`take_images`: the images of a conversation, apart from its messages, in which a part marks each one's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weft.errors import NotBuiltError, RequestError
from weft.media.encoded import ImageFile, read_image_url
from weft.text.messages import IMAGE_PART

# (the part's place, the part) -> its image, for `multi_modal_data`.
Reader = Callable[[str, Mapping[str, Any]], Any]

_MEDIA = ("image", "image_pil", "image_url", "input_image", "image_embeds", "audio_url", "input_audio", "audio_embeds",
          "video_url", "video", "video_embeds", "audio", "file")
_DETAILS = (None, "auto", "low", "high")


def take_images(messages: Any, readers: Mapping[str, Reader]) -> tuple[Any, list[Any]]:
    """(the messages with IMAGE_PART in the place of each image, the images in order).

    readers: of each type of parts that has an image. An ImageFile may stand in the place of a part.
    RequestError for a part without its image, NotBuiltError for other media. What is no conversation is returned as it
    is, for the renderer to refuse.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        return messages, []
    images: list[Any] = []
    return [_taken(message, f"messages[{i}]", images, readers) for i, message in enumerate(messages)], images


def image_url(field: str, part: Mapping[str, Any]) -> ImageFile:
    """The image of {"type": "image_url", "image_url": {"url": "https:…"}}. `detail` is checked and has no effect."""
    field, given = f"{field}.image_url", part.get("image_url")
    if isinstance(given, Mapping):
        if given.get("detail") not in _DETAILS:
            raise RequestError(f"{field}.detail", given["detail"], expected="auto, low or high")
        given = given.get("url")
    return read_image_url(field, given)


def _own(key: str) -> Reader:
    def read(field: str, part: Mapping[str, Any]) -> Any:
        if part.get(key) is None:
            raise RequestError(f"{field}.{key}", None, expected="an image")
        return part[key]

    return read


# Of Python's conversations: a part may have the image itself.
IN_PYTHON: Mapping[str, Reader] = {"image": _own("image"), "image_pil": _own("image_pil"), "image_url": image_url}


def _taken(message: Any, field: str, images: list[Any], readers: Mapping[str, Reader]) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    return {**message, "content": [_part(part, f"{field}.content[{j}]", images, readers)
                                   for j, part in enumerate(content)]}


def _part(part: Any, field: str, images: list[Any], readers: Mapping[str, Reader]) -> Any:
    if isinstance(part, ImageFile):
        images.append(part)
        return IMAGE_PART
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in _MEDIA:
        return part
    if kind not in readers:
        raise NotBuiltError(f"{field}.type", kind, expected=f"text or {' or '.join(readers)}",
                            hint="weft has no code for other media in a conversation.")
    images.append(readers[kind](field, part))
    return IMAGE_PART
