"""`take_images`: the images of a conversation, apart from its messages, in which a part marks each one's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.errors import NotBuiltError, RequestError
from weft.text.messages import IMAGE_PART

_OWN = {"image": "image", "image_pil": "image_pil"}               # type of a part with an image -> the image's key
_LATER = ("image_url", "input_image", "image_embeds", "audio_url", "input_audio", "audio_embeds", "video_url", "video",
          "video_embeds", "audio", "file")


def take_images(messages: Any) -> tuple[Any, list[Any]]:
    """(the messages with IMAGE_PART in the place of each image, the images in order).

    RequestError for a part without its image, NotBuiltError for other media. What is no conversation is returned as it
    is, for the renderer to refuse.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        return messages, []
    images: list[Any] = []
    return [_taken(message, f"messages[{i}]", images) for i, message in enumerate(messages)], images


def _taken(message: Any, field: str, images: list[Any]) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    return {**message, "content": [_part(part, f"{field}.content[{j}]", images) for j, part in enumerate(content)]}


def _part(part: Any, field: str, images: list[Any]) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in _LATER:
        raise NotBuiltError(f"{field}.type", kind, expected="text, image or image_pil",
                            hint='Give the image itself: {"type": "image_pil", "image_pil": image}.')
    if kind not in _OWN:
        return part
    image = part.get(_OWN[kind])
    if image is None:
        raise RequestError(f"{field}.{_OWN[kind]}", None, expected="an image")
    images.append(image)
    return IMAGE_PART
