"""`PromptMedia`: the media of a prompt as the user gave them, checked for kinds, counts and names.

`media_inputs.py` turns them into what the engine takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.config.media import DATA_ARGUMENTS
from weft.engine.process.messages import MediaInput
from weft.errors import NotBuiltError, RequestError
from weft.field_checks import check_text
from weft.media.encoded import EncodedImage

DATA, UUIDS, KWARGS = "multi_modal_data", "multi_modal_uuids", "mm_processor_kwargs"
_KINDS = ("image", "video", "audio", "vision_chunk")
_BUILT = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptMedia:
    """images: in the order of their placeholders. uuids: the client's name of each, or None.

    kwargs: arguments of the model's processor for this prompt.
    fields: where each image came from, for messages.
    """

    images: list[Any]
    uuids: list[str | None]
    kwargs: dict[str, Any]
    fields: list[str]


@dataclass(frozen=True, slots=True)
class ReadMedia:
    """Media of a prompt that `MediaInputs.read_prompt` has read. The prompt's ids have places for all rows."""

    items: list[MediaInput]

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(len(tensor.data) for item in self.items for tensor in item.tensors.values())


def parse_media(given: Mapping[str, Any]) -> PromptMedia | ReadMedia | None:
    """The media keys of a prompt; None: it has no media. RequestError and NotBuiltError name the key."""
    data, kwargs = given.get(DATA), given.get(KWARGS)
    if isinstance(data, ReadMedia):
        return data
    images = _images(data)
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(key, str) for key in kwargs)):
        raise RequestError(KWARGS, kwargs, expected="a dictionary of the processor's arguments")
    for name in sorted(DATA_ARGUMENTS.intersection(kwargs or ())):
        raise RequestError(f"{KWARGS}.{name}", (kwargs or {})[name], expected="settings of the model's processor alone",
                           hint="Images are given by multi_modal_data, the text by prompt.")
    uuids = _uuids(given.get(UUIDS), len(images))
    if not images and kwargs:
        raise RequestError(KWARGS, kwargs, expected="None without multi_modal_data")
    if not images or data is None:
        return None
    fields = [f"{DATA}.{_BUILT}[{i}]" if isinstance(data[_BUILT], list | tuple) else f"{DATA}.{_BUILT}"
              for i in range(len(images))]
    fields = [image.field if isinstance(image, EncodedImage) else field
              for image, field in zip(images, fields, strict=True)]
    return PromptMedia(images=images, uuids=uuids, kwargs=dict(kwargs or {}), fields=fields)


def _images(data: Any) -> list[Any]:
    if data is None:
        return []
    if not isinstance(data, Mapping):
        raise RequestError(DATA, type(data).__name__, expected='a dictionary such as {"image": image}')
    for kind, value in data.items():
        if kind not in _KINDS:
            raise RequestError(DATA, kind, expected="only the key image")
        if kind != _BUILT and value is not None and not (isinstance(value, list | tuple) and not value):
            raise NotBuiltError(f"{DATA}.{kind}", type(value).__name__, expected="None",
                                hint="weft takes images; it has no code for video and audio yet.")
    found = data.get(_BUILT)
    if found is None:
        return []
    images = list(found) if isinstance(found, list | tuple) else [found]
    for i, image in enumerate(images):
        if image is None:
            raise RequestError(f"{DATA}.{_BUILT}[{i}]", None, expected="an image",
                               hint="weft does not keep images by their uuid: send them each time.")
        if isinstance(image, Mapping):
            raise NotBuiltError(f"{DATA}.{_BUILT}", "a dictionary", expected="an image",
                                hint="weft takes no embeddings of images yet.")
    return images


def _uuids(given: Any, num: int) -> list[str | None]:
    if given is None:
        return [None] * num
    if not isinstance(given, Mapping) or any(kind not in _KINDS for kind in given):
        raise RequestError(UUIDS, given, expected='a dictionary such as {"image": ["name"]}')
    names = given.get(_BUILT)
    names = [names] if isinstance(names, str) or names is None else names
    if given.get(_BUILT) is None:
        return [None] * num
    if not isinstance(names, Sequence) or len(names) != num:
        raise RequestError(f"{UUIDS}.{_BUILT}", names, expected=f"a list of {num} names, one for each image")
    for i, name in enumerate(names):
        if name is not None and not check_text(f"{UUIDS}.{_BUILT}[{i}]", name):
            raise RequestError(f"{UUIDS}.{_BUILT}[{i}]", name, expected="a string that is not empty, or None")
    return list(names)
