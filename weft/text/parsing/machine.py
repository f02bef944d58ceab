"""`Machine`: a parser that is written as one coroutine, which gets the text character by character.

The coroutine never sees where a piece of text ended, so the same text gives the same events however it is divided.
Knows no format; `tools/` and `reasoning/` have them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from weft.text.parsing.events import CallArguments, CallStart, Content, Event, Reasoning

T = TypeVar("T")

# A coroutine yields None for the next character, or a pattern for a run of characters that it treats alike: it gets
# the longest run at hand, or one character where the pattern does not match. "" says that the text has ended.
Steps = Generator[re.Pattern[str] | None, str, T]
Say = Callable[[str], None]

SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Marks:
    """Texts to look for, none a prefix of another. others: a run of characters with which no mark begins."""

    texts: frozenset[str]
    prefixes: frozenset[str]
    others: re.Pattern[str]


@lru_cache(maxsize=256)
def marks(*texts: str) -> Marks:
    """The marks `texts`."""
    prefixes = frozenset(text[:end] for text in texts for end in range(1, len(text)))
    assert all(texts) and not prefixes & set(texts), f"one of {texts} begins another"
    firsts = "".join(sorted({re.escape(text[0]) for text in texts}))
    return Marks(frozenset(texts), prefixes, re.compile(f"[^{firsts}]+") if firsts else re.compile(r"(?s:.+)"))


class Machine(ABC):
    """Drives the coroutine `run` and collects its events. A subclass writes `run`, which ends when it gets ""."""

    def __init__(self) -> None:
        self._text, self._at = "", 0                 # characters that the coroutine has yet to see: from `_at` on
        self.num_read = 0                            # characters that the coroutine has seen and not put back
        self.reasoning_spans: list[tuple[int, int]] = []      # of the text: where its reasoning is, marks included
        self._held: list[str] | None = None          # text that may turn out to be content
        self._events: list[Event] = []
        self._kind: tuple[type[Content | Reasoning | CallArguments], int] | None = None
        self._pieces: list[str] = []                 # of the event that is being made
        self._steps = self.run()
        self._wish = next(self._steps)

    @abstractmethod
    def run(self) -> Steps[None]:
        """Read the whole text."""

    def feed(self, text: str, token_ids: Sequence[int] = ()) -> list[Event]:
        """See `AnswerParser`. token_ids are not looked at."""
        self._text, self._at = self._text[self._at:] + text, 0
        self._advance()
        return self._take()

    def finish(self) -> list[Event]:
        """See `AnswerParser`."""
        try:
            while True:
                self._advance()
                self._wish = self._steps.send("")
        except StopIteration:
            return self._take()

    def unread(self, text: str) -> None:
        """Put characters back that were read last."""
        self.num_read -= len(text)
        if self._at >= len(text):
            self._at -= len(text)
        else:
            self._text, self._at = text + self._text[self._at:], 0
        while self._held and text:
            last = self._held.pop()
            if len(last) > len(text):
                self._held.append(last[:-len(text)])
            text = text[:-len(last)]

    def hold(self, text: str) -> None:
        """Keep `text`, and all that is read from now on, until `drop` or `give_back` says what it is."""
        self._held = [text]

    def drop(self) -> str:
        """Stop keeping text. Returns what was kept."""
        text, self._held = "".join(self._held or ()), None
        return text

    def give_back(self) -> None:
        """The text that was kept is content."""
        self.content(self.drop())

    def content(self, text: str) -> None:
        """Tell content."""
        self._tell(Content, 0, text)

    def reasoning(self, text: str) -> None:
        """Tell reasoning."""
        self._tell(Reasoning, 0, text)

    def arguments(self, index: int, text: str) -> None:
        """Tell a piece of a call's arguments."""
        self._tell(CallArguments, index, text)

    def call_start(self, event: CallStart) -> None:
        """Tell that a call begins."""
        self._close()
        self._events.append(event)

    def space(self, also: str = "") -> Steps[str]:
        """Skips white space and the characters `also`. Returns the character behind, which has been read too."""
        while True:
            piece = yield SPACE
            if not piece.isspace() and (not piece or piece not in also):
                return piece

    def text_until(self, looked_for: Marks, say: Say) -> Steps[str]:
        """Passes text to `say` up to the first mark. Returns the mark, which has been read too; "" at the end."""
        begun = ""                                   # what may be the beginning of a mark
        while True:
            piece = yield None if begun else looked_for.others
            if not piece:
                say(begun)
                return ""
            if not begun and piece[0] not in looked_for.prefixes and piece not in looked_for.texts:
                say(piece)
                continue
            begun += piece
            while begun and begun not in looked_for.prefixes:
                if begun in looked_for.texts:
                    return begun
                say(begun[0])
                begun = begun[1:]

    def expect(self, text: str) -> Steps[bool]:
        """Reads `text`. False if other text is there; of that nothing has been read then."""
        for i, wanted in enumerate(text):
            char = yield None
            if char != wanted:
                self.unread(text[:i] + char)
                return False
        return True

    def _advance(self) -> None:
        while self._at < len(self._text):
            run = None if self._wish is None else self._wish.match(self._text, self._at)
            piece = run.group() if run else self._text[self._at]
            self._at += len(piece)
            self.num_read += len(piece)
            if self._held is not None:
                self._held.append(piece)
            self._wish = self._steps.send(piece)

    def _tell(self, kind: type[Content | Reasoning | CallArguments], index: int, text: str) -> None:
        if not text:
            return
        if self._kind != (kind, index):
            self._close()
            self._kind = (kind, index)
        self._pieces.append(text)

    def _close(self) -> None:
        if self._kind is not None:
            (kind, index), text = self._kind, "".join(self._pieces)
            self._events.append(CallArguments(index, text) if kind is CallArguments else
                                Reasoning(text) if kind is Reasoning else Content(text))
        self._kind, self._pieces = None, []

    def _take(self) -> list[Event]:
        self._close()
        events, self._events = self._events, []
        return events
