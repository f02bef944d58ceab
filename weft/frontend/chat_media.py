"""`take_media`: the media of a conversation, apart from its messages, in which a part marks each item's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weft.errors import NotBuiltError, RequestError
from weft.field_checks import check_text
from weft.media.encoded import ImageFile, read_image_url
from weft.media.encoded_audio import audio_url, input_audio
from weft.text.messages import MEDIA_PARTS

# (the part's place, the part) -> its item, for `multi_modal_data`.
Reader = Callable[[str, Mapping[str, Any]], Any]

_MEDIA = ("image", "image_pil", "image_url", "input_image", "image_embeds", "audio_url", "input_audio", "audio_embeds",
          "video_url", "video", "video_embeds", "audio", "file")
_DETAILS = (None, "auto", "low", "high")


@dataclass(frozen=True, slots=True)
class TakenMedia:
    """items: {kind: items in order}. uuids: {kind: the client's name of each item, or None}."""

    items: dict[str, list[Any]] = field(default_factory=dict)
    uuids: dict[str, list[str | None]] = field(default_factory=dict)

    def keep(self, kind: str, item: Any, uuid: str | None) -> Mapping[str, str]:
        """Adds an item. Returns what marks its place."""
        self.items.setdefault(kind, []).append(item)
        self.uuids.setdefault(kind, []).append(uuid)
        return MEDIA_PARTS[kind]


def take_media(messages: Any, readers: Mapping[str, tuple[str, Reader]]) -> tuple[Any, TakenMedia]:
    """(the messages with a part of MEDIA_PARTS in the place of each item, the items).

    readers: {type of a part: (kind, its reader)}. An ImageFile may stand in the place of a part.
    RequestError for a part without its item, NotBuiltError for other media. What is no conversation is returned as it
    is, for the renderer to refuse.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        return messages, TakenMedia()
    media = TakenMedia()
    return [_taken(message, f"messages[{i}]", media, readers) for i, message in enumerate(messages)], media


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


def _taken(message: Any, place: str, media: TakenMedia, readers: Mapping[str, tuple[str, Reader]]) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    return {**message, "content": [_part(part, f"{place}.content[{j}]", media, readers)
                                   for j, part in enumerate(content)]}


def _part(part: Any, place: str, media: TakenMedia, readers: Mapping[str, tuple[str, Reader]]) -> Any:
    if isinstance(part, ImageFile):
        return media.keep("image", part, None)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in _MEDIA:
        return part
    if kind not in readers:
        raise NotBuiltError(f"{place}.type", kind, expected=f"text or {' or '.join(readers)}",
                            hint="weft has no code for other media in a conversation.")
    name, read = readers[kind]
    uuid = part.get("uuid")
    if uuid is not None and not check_text(f"{place}.uuid", uuid):
        raise RequestError(f"{place}.uuid", uuid, expected="a string that is not empty, or null")
    return media.keep(name, read(place, part), uuid)
