"""Joiners: streaming decoders from token ids to certain text, one class for each kind of decoder.

`TextJoiner` chooses the class. A joiner remembers only text that is not certain yet, so a token costs the same at the
start and at the end of a long text. Knows pieces of tokens (`pieces.py`), but no prompt and no request.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Protocol

from weft.text.cleanup import Cleanup
from weft.text.pieces import Kind, Pieces

_MAX_UNSURE_TOKENS = 8   # a character has at most 4 bytes: with more tokens, U+FFFD is the real text


class Joiner(Protocol):
    """The interface of the three kinds of joiners."""

    def push(self, token_ids: list[int]) -> str:
        """The new text that no later token can change."""
        ...

    def peek(self) -> str:
        """The rest of the text if no more tokens came; changes nothing."""
        ...


class ByteJoiner:
    """For tokens that are bytes: returns each character once it is complete, and U+FFFD once bytes prove invalid."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_ids: list[int]) -> str:
        return self._utf8.decode(b"".join(map(self._pieces.bytes, token_ids)))

    def peek(self) -> str:
        return self._utf8.getstate()[0].decode("utf-8", "replace")


class SegmentJoiner:
    """For tokens that are texts: returns each token's text at once, and a run of byte tokens when it ends.

    A byte-fallback decoder turns a whole run into U+FFFD if any byte of it is invalid, so no part of a run is certain
    before its end.
    """

    def __init__(self, pieces: Pieces, *, spaces_between_special_tokens: bool) -> None:
        self._pieces, self._spaces = pieces, spaces_between_special_tokens
        self._run: list[int] = []
        self._is_first, self._was_special = True, False

    def push(self, token_ids: list[int]) -> str:
        text = []
        for token_id in token_ids:
            if self._pieces.byte(token_id) is not None:
                self._run.append(token_id)
                continue
            if self._run:
                text.append(self.peek())
                self._run, self._is_first, self._was_special = [], False, False
            text.append(self._segment(token_id))
        return "".join(text)

    def peek(self) -> str:
        if not self._run:
            return ""
        return self._pieces.first(self._run) if self._is_first else self._pieces.inner(self._run)

    def _segment(self, token_id: int) -> str:
        is_special = token_id in self._pieces.special_ids
        if is_special and self._was_special and not self._spaces:
            text = self._pieces.token(token_id) or ""
        else:
            text = self._pieces.first([token_id]) if self._is_first else self._pieces.inner([token_id])
        self._is_first, self._was_special = False, is_special
        return text


class WindowJoiner:
    """For any decoder: decodes the last few tokens with and without the new ones, and compares.

    It waits while the text ends with U+FFFD, which may be half a character, but only for _MAX_UNSURE_TOKENS tokens.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._window: list[int] = []
        self._num_shown_tokens, self._shown = 0, ""

    def push(self, token_ids: list[int]) -> str:
        self._window += token_ids
        text = self._pieces.first(self._window)
        if text.endswith("�") and len(self._window) - self._num_shown_tokens < _MAX_UNSURE_TOKENS:
            return ""
        new = text[len(self._shown):]
        if new:
            self._window = self._window[self._num_shown_tokens:]
            self._num_shown_tokens, self._shown = len(self._window), self._pieces.first(self._window)
        return new

    def peek(self) -> str:
        return self._pieces.first(self._window)[len(self._shown):]


class TextJoiner:
    """A tokenizer's joiner. skip_special_tokens: leave them out. cleans_up: remove spaces before punctuation."""

    def __init__(self, pieces: Pieces, *, skip_special_tokens: bool, spaces_between_special_tokens: bool,
                 cleans_up: bool) -> None:
        self._pieces, self._skips_special = pieces, skip_special_tokens
        self._joiner = _joiner(pieces, spaces_between_special_tokens)
        self._cleanup = Cleanup() if cleans_up else None

    def is_shown(self, token_id: int) -> bool:
        """False for ids without text: special tokens that are skipped, ids outside the vocabulary."""
        if self._skips_special and token_id in self._pieces.special_ids:
            return False
        return self._pieces.token(token_id) is not None

    def push(self, token_ids: Iterable[int]) -> str:
        """The new text that no later token can change."""
        shown = [token_id for token_id in token_ids if self.is_shown(token_id)]
        text = self._joiner.push(shown) if shown else ""
        return self._cleanup.push(text) if self._cleanup else text

    def peek(self) -> str:
        """The rest of the text if no more tokens came; changes nothing."""
        text = self._joiner.peek()
        return self._cleanup.peek(text) if self._cleanup else text


def _joiner(pieces: Pieces, spaces_between_special_tokens: bool) -> Joiner:
    match pieces.kind:
        case Kind.BYTES:
            return ByteJoiner(pieces)
        case Kind.SEGMENTS:
            return SegmentJoiner(pieces, spaces_between_special_tokens=spaces_between_special_tokens)
        case Kind.WINDOW:
            return WindowJoiner(pieces)
