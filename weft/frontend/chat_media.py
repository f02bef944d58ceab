"""`take_media`: the media of a conversation, apart from its messages, in which a part marks each item's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weft.errors import NotBuiltError, RequestError
from weft.media.encoded import ImageFile, read_image_url
from weft.media.encoded_audio import audio_url, input_audio
from weft.text.messages import MEDIA_PARTS

# (the part's place, the part) -> its item, for `multi_modal_data`.
Reader = Callable[[str, Mapping[str, Any]], Any]
Items = dict[str, list[Any]]         # {kind: items in order}

_MEDIA = ("image", "image_pil", "image_url", "input_image", "image_embeds", "audio_url", "input_audio", "audio_embeds",
          "video_url", "video", "video_embeds", "audio", "file")
_DETAILS = (None, "auto", "low", "high")


def take_media(messages: Any, readers: Mapping[str, tuple[str, Reader]]) -> tuple[Any, Items]:
    """(the messages with a part of MEDIA_PARTS in the place of each item, the items).

    readers: {type of a part: (kind, its reader)}. An ImageFile may stand in the place of a part.
    RequestError for a part without its item, NotBuiltError for other media. What is no conversation is returned as it
    is, for the renderer to refuse.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        return messages, {}
    items: Items = {}
    return [_taken(message, f"messages[{i}]", items, readers) for i, message in enumerate(messages)], items


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
            raise RequestError(f"{field}.{key}", None, expected="the item itself")
        return part[key]

    return read


# Of clients' conversations: files.
IN_FILES: Mapping[str, tuple[str, Reader]] = {
    "image_url": ("image", image_url), "input_audio": ("audio", input_audio), "audio_url": ("audio", audio_url)}
# Of Python's conversations: a part may have the item itself.
IN_PYTHON: Mapping[str, tuple[str, Reader]] = {
    **IN_FILES, "image": ("image", _own("image")), "image_pil": ("image", _own("image_pil")),
    "audio": ("audio", _own("audio"))}


def _taken(message: Any, field: str, items: Items, readers: Mapping[str, tuple[str, Reader]]) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    return {**message, "content": [_part(part, f"{field}.content[{j}]", items, readers)
                                   for j, part in enumerate(content)]}


def _part(part: Any, field: str, items: Items, readers: Mapping[str, tuple[str, Reader]]) -> Any:
    if isinstance(part, ImageFile):
        return _kept("image", part, items)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in _MEDIA:
        return part
    if kind not in readers:
        raise NotBuiltError(f"{field}.type", kind, expected=f"text or {' or '.join(readers)}",
                            hint="weft has no code for other media in a conversation.")
    name, read = readers[kind]
    return _kept(name, read(field, part), items)


def _kept(kind: str, item: Any, items: Items) -> Mapping[str, str]:
    """What marks the place of an item."""
    items.setdefault(kind, []).append(item)
    return MEDIA_PARTS[kind]
