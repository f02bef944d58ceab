"""`PromptReplacement`, `PromptInsertion`: where the tokens of items go into a prompt, and which of them get rows.

`apply_updates` makes the changes in token ids or in text; `find_placeholders` finds their results in token ids.
"""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from weft.models.vllm.multimodal.fields import PlaceholderRange

S = TypeVar("S", str, "list[int]")
PromptSeq = str | list[int]


@dataclass(frozen=True)
class PromptIndex:
    """A place of a prompt. get_match_index(tokenizer, prompt, start): the place, or None."""

    get_match_index: Callable[..., int | None]


class PromptIndexTargets:
    """Places that are no text: the start, behind a prefix, the end."""

    @staticmethod
    def start() -> PromptIndex:
        """Before all tokens."""
        return PromptIndex(lambda tokenizer, prompt, start=0: 0)

    @staticmethod
    def prefix(seq: PromptSeq) -> PromptIndex:
        """Behind `seq`, where the prompt begins with it."""
        def place(tokenizer: Any, prompt: Any, start: int = 0) -> int | None:
            wanted = as_text(seq, tokenizer) if isinstance(prompt, str) else as_ids(seq, tokenizer)
            return len(wanted) if prompt[: len(wanted)] == wanted else None

        return PromptIndex(place)

    @staticmethod
    def end() -> PromptIndex:
        """Behind all tokens."""
        return PromptIndex(lambda tokenizer, prompt, start=0: len(prompt))


@dataclass(frozen=True)
class PromptUpdateDetails(Generic[S]):
    """full: what goes into the prompt. is_embed: marks the tokens of it that get rows; None: all."""

    full: Any
    is_embed: Callable[..., Tensor] | None = None

    @staticmethod
    def from_seq(seq: Any) -> PromptUpdateDetails[Any]:
        """All tokens get rows."""
        return PromptUpdateDetails(seq)

    @staticmethod
    def select_text(seq: Any, embed_text: str) -> PromptUpdateDetails[Any]:
        """The tokens of `embed_text` get rows."""
        def is_embed(tokenizer: Any, full: Any) -> Tensor:
            return torch.isin(torch.tensor(as_ids(full, tokenizer)), torch.tensor(as_ids(embed_text, tokenizer)))

        return PromptUpdateDetails(seq, is_embed)

    @staticmethod
    def select_token_id(seq: Any, embed_token_id: int) -> PromptUpdateDetails[Any]:
        """The tokens of this id get rows."""
        return PromptUpdateDetails.select_token_ids(seq, [embed_token_id])

    @staticmethod
    def select_token_ids(seq: Any, embed_token_ids: list[int]) -> PromptUpdateDetails[Any]:
        """The tokens of these ids get rows."""
        def is_embed(tokenizer: Any, full: Any) -> Tensor:
            return torch.isin(torch.tensor(as_ids(full, tokenizer)), torch.tensor(embed_token_ids))

        return PromptUpdateDetails(seq, is_embed)


PromptUpdateInfo = Any
PromptUpdateContent = PromptTarget = PromptUpdateTarget = PromptRepl = Any


@dataclass
class PromptUpdate(ABC):
    """For each item of a modality: a target, or a function from the item's number to one."""

    modality: str
    target: Any
    content: Any = None
    is_replacement = True

    def resolve(self, item_idx: int) -> ResolvedUpdate:
        """The update of one item."""
        target = self.target(item_idx) if callable(self.target) else self.target
        content = self.content(item_idx) if callable(self.content) else self.content
        if not isinstance(content, PromptUpdateDetails):
            content = PromptUpdateDetails.from_seq(content)
        return ResolvedUpdate(target, content, self.is_replacement)


class PromptReplacement(PromptUpdate):
    """The item's tokens take the place of the target."""

    def __init__(self, modality: str, target: Any, replacement: Any) -> None:
        super().__init__(modality, target, replacement)
        self.replacement = replacement


class PromptInsertion(PromptUpdate):
    """The item's tokens go behind the target."""

    is_replacement = False

    def __init__(self, modality: str, target: Any, insertion: Any) -> None:
        super().__init__(modality, target, insertion)
        self.insertion = insertion


@dataclass(frozen=True)
class ResolvedUpdate:
    """The update of one item."""

    target: Any
    content: PromptUpdateDetails[Any]
    is_replacement: bool

    def ids(self, tokenizer: Any) -> list[int]:
        """The item's tokens."""
        return as_ids(self.content.full, tokenizer)

    def marked(self, tokenizer: Any) -> Tensor | None:
        """Which of the item's tokens get rows; None: all."""
        mark = self.content.is_embed
        if mark is None:
            return None
        full = self.content.full
        return (mark(tokenizer, full) if len(inspect.signature(mark).parameters) > 1 else mark(full)).bool()

    def match(self, prompt: Any, start: int, tokenizer: Any) -> tuple[int, int] | None:
        """[first, end) of the target's first occurrence from `start` on."""
        if isinstance(self.target, PromptIndex):
            place = self.target.get_match_index(tokenizer, prompt, start)
            return (place, place) if place is not None and place >= start else None
        if isinstance(prompt, str):
            wanted = as_text(self.target, tokenizer)
            place = prompt.find(wanted, start) if wanted else -1
        else:
            wanted = as_ids(self.target, tokenizer)
            place = find_ids(prompt, wanted, start)
        return None if place < 0 else (place, place + len(wanted))


# {modality: for each item its updates, of which the first that fits counts}
Updates = Mapping[str, Sequence[Sequence[ResolvedUpdate]]]


@dataclass(frozen=True, eq=False)
class Placeholder:
    """The tokens of an item in a prompt."""

    modality: str
    item_idx: int
    start_idx: int
    tokens: list[int]
    is_embed: Tensor | None = None

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.tokens)

    def to_range(self) -> PlaceholderRange:
        """Its place."""
        return PlaceholderRange(self.start_idx, self.length, self.is_embed)


PlaceholderFeaturesInfo = Placeholder


def as_ids(seq: PromptSeq, tokenizer: Any) -> list[int]:
    """Token ids of a text, without special tokens; or a list of ids."""
    return tokenizer.encode(seq, add_special_tokens=False) if isinstance(seq, str) else list(seq)


def as_text(seq: PromptSeq, tokenizer: Any) -> str:
    """The text of token ids; or a text."""
    return seq if isinstance(seq, str) else tokenizer.decode(seq)


def find_ids(ids: Sequence[int], wanted: Sequence[int], start: int) -> int:
    """The first place from `start` on at which the ids are `wanted`; -1: nowhere."""
    length = len(wanted)
    return next((i for i in range(start, len(ids) - length + 1) if length and ids[i : i + length] == wanted), -1)


def apply_updates(prompt: S, updates: Updates, tokenizer: Any) -> tuple[S, dict[str, int]]:
    """(the prompt with the items' tokens or texts, {modality: how many of its items got a place}).

    From left to right, always the target that comes first; items of a modality in their order.
    """
    parts: list[Any] = []
    done = dict.fromkeys(updates, 0)
    begin = 0
    while True:
        found = [(span, modality, update) for modality, items in updates.items() if done[modality] < len(items)
                 for update in items[done[modality]] if (span := update.match(prompt, begin, tokenizer)) is not None]
        if not found:
            break
        (first, end), modality, update = min(found, key=lambda each: each[0])
        content = update.content.full
        parts += [prompt[begin : first if update.is_replacement else end],
                  as_text(content, tokenizer) if isinstance(prompt, str) else as_ids(content, tokenizer)]
        begin = end
        done[modality] += 1
    whole = [*parts, prompt[begin:]]
    if isinstance(prompt, str):
        return "".join(whole), done
    return [token_id for part in whole for token_id in part], done      # pyright: ignore[reportReturnType]


def find_placeholders(ids: list[int], updates: Updates, tokenizer: Any) -> Iterator[Placeholder]:
    """The items' tokens in a prompt, from left to right, items of a modality in their order."""
    contents = {modality: [[(update.ids(tokenizer), update) for update in item] for item in items]
                for modality, items in updates.items()}
    done, place = dict.fromkeys(updates, 0), 0
    while place < len(ids):
        found = next(((modality, tokens, update) for modality, items in contents.items() if done[modality] < len(items)
                      for tokens, update in items[done[modality]]
                      if tokens and ids[place : place + len(tokens)] == tokens), None)
        if found is None:
            place += 1
            continue
        modality, tokens, update = found
        yield Placeholder(modality, done[modality], place, tokens, update.marked(tokenizer))
        done[modality] += 1
        place += len(tokens)
