"""`PromptMedia`: the media of a prompt as the user gave them, checked for kinds, counts and names.

`media_inputs.py` turns them into what the engine takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from weft.config.media import DATA_ARGUMENTS
from weft.engine.process.messages import MediaInput
from weft.errors import NotBuiltError, RequestError
from weft.field_checks import check_text

DATA, UUIDS, KWARGS = "multi_modal_data", "multi_modal_uuids", "mm_processor_kwargs"
KINDS = ("image", "audio")               # that weft takes
_ALL_KINDS = (*KINDS, "video", "vision_chunk")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenItem:
    """A media item. uuid: the client's name of the item, or None. field: where it came from, for messages."""

    value: Any
    uuid: str | None
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptMedia:
    """items: {kind: items in the order of their placeholders}. kwargs: of the model's processor for this prompt."""

    items: dict[str, list[GivenItem]]
    kwargs: dict[str, Any]


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
    values = _values(data)
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(key, str) for key in kwargs)):
        raise RequestError(KWARGS, kwargs, expected="a dictionary of the processor's arguments")
    for name in sorted(DATA_ARGUMENTS.intersection(kwargs or ())):
        raise RequestError(f"{KWARGS}.{name}", (kwargs or {})[name], expected="settings of the model's processor alone",
                           hint="Media are given by multi_modal_data, the text by prompt.")
    uuids = _uuids(given.get(UUIDS), values)
    for kind, names in (given.get(UUIDS) or {}).items():
        if names and kind not in values:
            raise RequestError(f"{UUIDS}.{kind}", names, expected=f"none without {DATA}.{kind}",
                               hint="weft keeps no items by their names: give them each time.")
    if not values and kwargs:
        raise RequestError(KWARGS, kwargs, expected="None without multi_modal_data")
    if not values:
        return None
    items = {kind: [GivenItem(value=value, uuid=uuid, field=_field(value, f"{DATA}.{kind}", i, len(of_kind)))
                    for i, (value, uuid) in enumerate(zip(of_kind, uuids[kind], strict=True))]
             for kind, of_kind in values.items()}
    return PromptMedia(items=items, kwargs=dict(kwargs or {}))


def _field(value: Any, place: str, index: int, num: int) -> str:
    """Files of clients know where they came from."""
    return getattr(value, "field", None) or (place if num == 1 else f"{place}[{index}]")


def _values(data: Any) -> dict[str, list[Any]]:
    """{kind: values}, of the kinds that have some."""
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise RequestError(DATA, type(data).__name__, expected='a dictionary such as {"image": image}')
    found: dict[str, list[Any]] = {}
    for kind, value in data.items():
        if kind not in _ALL_KINDS:
            raise RequestError(DATA, kind, expected=f"only the keys {', '.join(KINDS)}")
        if value is None or (isinstance(value, list | tuple) and not value):
            continue
        if kind not in KINDS:
            raise NotBuiltError(f"{DATA}.{kind}", type(value).__name__, expected="None",
                                hint="weft takes images and audio; it has no code for video yet.")
        if isinstance(value, Mapping):
            raise NotBuiltError(f"{DATA}.{kind}", "a dictionary", expected=f"an item of {kind}",
                                hint="weft takes no embeddings of media yet.")
        found[kind] = list(value) if _is_list(kind, value) else [value]
        for i, item in enumerate(found[kind]):
            if item is None:
                raise RequestError(f"{DATA}.{kind}[{i}]", None, expected=f"an item of {kind}",
                                   hint="weft does not keep items by their uuid: send them each time.")
    return found


def _is_list(kind: str, value: Any) -> bool:
    """Whether a value is a list of items. A clip of audio may itself be a list of numbers, or (samples, rate)."""
    if kind != "audio":
        return isinstance(value, list | tuple)
    return getattr(value, "ndim", 1) == 2 or (isinstance(value, list) and not isinstance(value[0], Real))


def _uuids(given: Any, values: Mapping[str, Sequence[Any]]) -> dict[str, list[str | None]]:
    """A name, or None, for each value."""
    if given is not None and (not isinstance(given, Mapping) or any(kind not in _ALL_KINDS for kind in given)):
        raise RequestError(UUIDS, given, expected='a dictionary such as {"image": ["name"]}')
    return {kind: _names((given or {}).get(kind), f"{UUIDS}.{kind}", len(of_kind)) for kind, of_kind in values.items()}


def _names(given: Any, field: str, num: int) -> list[str | None]:
    if given is None:
        return [None] * num
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, Sequence) or len(names) != num:
        raise RequestError(field, names, expected=f"a list of {num} names, one for each item")
    for i, name in enumerate(names):
        if name is not None and not check_text(f"{field}[{i}]", name):
            raise RequestError(f"{field}[{i}]", name, expected="a string that is not empty, or None")
    return list(names)
